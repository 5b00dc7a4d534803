"""The document says what is served, and all of it."""

from __future__ import annotations

import json
from typing import Any

import falcon.inspect
import falcon.testing
import jsonschema_rs
import pytest

from api.app import OPERATIONS
from api.resources.docs import DOCUMENT_PATH, PAGE_PATHS
from api.resources.metrics import PATH as METRICS_PATH
from api.routes import LongPaths
from tests.api.conftest import MakeClient
from tests.api.requests import episode
from tests.api.test_episodes import CONNECTOR_RECORD

Client = falcon.testing.TestClient


@pytest.fixture(scope="module")
def document(doorstep: Client) -> dict[str, Any]:
    served: dict[str, Any] = doorstep.simulate_get("/openapi.json").json
    return served


def schema(document: dict[str, Any], *path: str) -> jsonschema_rs.Draft202012Validator:
    """A validator of the schema at this place in the document."""
    found = document
    for step in path:
        found = found[step]
    return jsonschema_rs.Draft202012Validator({**found, "components": document["components"]}, validate_formats=True)


def behind(client: Client, path: str, method: str) -> list[str]:
    """The templates that a route answers for: its own, or those of all operations that share it."""
    router = client.app._router
    resource = router.find(path.replace("{rest:path}", "x"))[0] if "{rest:path}" in path else None
    return resource.templates(method) if isinstance(resource, LongPaths) else [path]


def test_every_route_is_documented_and_every_documented_operation_is_routed(
    doorstep: Client, document: dict[str, Any]
) -> None:
    routed = {
        (path.replace(":path}", "}"), method.method)
        for route in falcon.inspect.inspect_routes(doorstep.app)
        for method in route.methods
        if not method.internal and method.method != "HEAD"
        for path in behind(doorstep, route.path, method.method)
    }
    documented = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    aliases = {(alias, operation.method) for operation in OPERATIONS for alias in operation.aliases}
    itself = {(path, "GET") for path in (DOCUMENT_PATH, *PAGE_PATHS, METRICS_PATH)}
    assert documented <= routed
    assert routed - documented == aliases | itself


def test_the_operations_of_the_contract_are_there(document: dict[str, Any]) -> None:
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} >= {
        ("/v1/episodes", "post"),
        ("/v1/episodes/batch", "post"),
        ("/v1/memories/compile", "post"),
        ("/v1/memories/compile/{job_id}", "get"),
        ("/v1/memories/search", "get"),
        ("/v1/context", "post"),
        ("/v1/timeline", "get"),
        ("/v1/subjects", "get"),
        ("/v1/subjects/{subject_id}", "delete"),
        ("/v1/version", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, list):
            return {found for item in value for found in references(item)}
        if not isinstance(value, dict):
            return set()
        own = {value["$ref"]} if "$ref" in value else set()
        return own | {found for item in value.values() for found in references(item)}

    for reference in references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [described["operationId"] for methods in document["paths"].values() for described in methods.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        (episode(), True),
        (episode(occurred_at="2026-03-14T09:26:53Z", metadata={"idempotency_key": "k"}, tags=1), True),
        (CONNECTOR_RECORD, True),
        (episode(subject_id="東京 a/b@c"), True),
        (episode(subject_id=""), False),
        (episode(subject_id="line\nbreak"), False),
        (episode(subject_id="newline at the end\n"), False),
        (episode(payload=[]), False),
        (episode(occurred_at="soon"), False),
        (episode(metadata={"idempotency_key": 7}), False),
        (episode(type=...), False),
    ],
)
def test_the_document_and_the_server_judge_alike(
    client: Client, document: dict[str, Any], body: dict[str, Any], valid: bool
) -> None:
    accepts = schema(document, "paths", "/v1/episodes", "post", "requestBody", "content", "application/json", "schema")
    assert accepts.is_valid(body) == valid
    assert client.simulate_post("/v1/episodes", json=body).status_code == (201 if valid else 422)


def test_answers_are_what_the_document_promises(client: Client, document: dict[str, Any]) -> None:
    answers = [
        ("/v1/episodes", client.simulate_post("/v1/episodes", json=episode(session_id="s1"))),
        ("/v1/episodes/batch", client.simulate_post("/v1/episodes/batch", json={"episodes": [episode()]})),
        ("/v1/memories/compile", client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"})),
        (
            "/v1/memories/compile",
            client.simulate_post("/v1/memories/compile", json={"subject_id": "ada", "async": True}),
        ),
        ("/v1/memories/search", client.simulate_get("/v1/memories/search", params={"subject_id": "ada"})),
        (
            "/v1/context",
            client.simulate_post("/v1/context", json={"subject_id": "ada", "task": "name", "explain": True}),
        ),
        ("/v1/timeline", client.simulate_get("/v1/timeline", params={"subject_id": "ada"})),
        ("/v1/timeline", client.simulate_get("/v1/timeline")),
        ("/v1/subjects", client.simulate_get("/v1/subjects")),
        ("/v1/version", client.simulate_get("/v1/version")),
        ("/healthz", client.simulate_get("/healthz")),
        ("/readyz", client.simulate_get("/readyz")),
    ]
    for path, answer in answers:
        methods = document["paths"][path]
        (described,) = methods.values() if len(methods) == 1 else (methods["post"],)
        content = ("responses", str(answer.status_code), "content", "application/json", "schema")
        schema({**described, "components": document["components"]}, *content).validate(answer.json)


def test_documents_are_promised_as_objects_and_moments_with_their_format(document: dict[str, Any]) -> None:
    shape = document["components"]["schemas"]["Episode"]["properties"]
    assert {shape[name]["type"] for name in ("payload", "metadata", "provenance")} == {"object"}
    assert {shape[name]["format"] for name in ("occurred_at", "created_at")} == {"date-time"}


def test_the_document_knows_the_settings(make_doorstep: MakeClient) -> None:
    client = make_doorstep(api_key="k", tenant_header="X-Org", require_tenant=True)
    document = client.simulate_get("/openapi.json").json
    assert document["security"] == [{"ApiKey": []}, {"Bearer": []}]
    tenant = document["components"]["parameters"]["Tenant"]
    assert (tenant["name"], tenant["required"]) == ("X-Org", True)
    assert document["paths"]["/healthz"]["get"]["security"] == []
    for path in ("/admin/queues", "/ops/migrations"):
        (own,) = [p["$ref"] for p in document["paths"][path]["get"]["parameters"] if "Tenant" in p.get("$ref", "")]
        parameter = document["components"]["parameters"][own.rpartition("/")[2]]
        assert (parameter["name"], parameter["required"]) == ("X-Org", False), "operators may look at all tenants"
    assert make_doorstep().simulate_get("/openapi.json").json["security"] == []


def test_the_document_holds_no_secret(make_doorstep: MakeClient) -> None:
    document = make_doorstep(api_key="open sesame").simulate_get("/openapi.json").json
    assert "sesame" not in json.dumps(document)
