"""Who may call, and whose rows they see (contract: core §2.2, §2.3)."""

from __future__ import annotations

import falcon.testing
import pytest

from api.app import PUBLIC_PATHS
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

KEY = "open sesame"


@pytest.fixture
def guarded(make_doorstep: MakeClient) -> falcon.testing.TestClient:
    """Behind it there is no database: 503 means that the key was accepted."""
    return make_doorstep(api_key=KEY)


def test_the_public_paths_are_those_of_the_contract() -> None:
    health = {"/healthz", "/health", "/readyz", "/ready", "/v1/version"}
    # Beyond the contract: what a third party checks receipts with.
    health.add("/v1/receipts/keys")
    assert health | {"/docs", "/redoc", "/openapi.json"} == PUBLIC_PATHS


def test_without_a_key_a_request_is_refused(guarded: falcon.testing.TestClient) -> None:
    answer = guarded.simulate_get("/v1/subjects")
    assert (answer.status_code, answer.json["error"]["code"]) == (401, "missing_api_key")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "wrong"},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": "schlüssel"},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"},
    ],
)
def test_with_a_wrong_key_a_request_is_refused(guarded: falcon.testing.TestClient, headers: dict[str, str]) -> None:
    answer = guarded.simulate_get("/v1/subjects", headers=headers)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "invalid_api_key")


@pytest.mark.parametrize("scheme", ["Basic", "Token"])
def test_other_schemes_carry_no_key(guarded: falcon.testing.TestClient, scheme: str) -> None:
    answer = guarded.simulate_get("/v1/subjects", headers={"Authorization": f"{scheme} {KEY}"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"X-API-Key": KEY}, {"x-api-key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer {KEY}"}],
)
def test_the_key_is_accepted_in_either_header(guarded: falcon.testing.TestClient, headers: dict[str, str]) -> None:
    assert guarded.simulate_get("/v1/subjects", headers=headers).status_code == 503


def test_a_key_need_not_be_ascii(make_doorstep: MakeClient) -> None:
    client = make_doorstep(api_key="schlüssel")
    as_sent = "schlüssel".encode().decode("latin-1")
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": as_sent}).status_code == 503


def test_the_query_carries_a_key_only_when_allowed(
    guarded: falcon.testing.TestClient, make_doorstep: MakeClient
) -> None:
    assert guarded.simulate_get("/v1/subjects", params={"api_key": KEY}).status_code == 401
    lenient = make_doorstep(api_key=KEY, allow_query_api_key=True)
    assert lenient.simulate_get("/v1/subjects", params={"api_key": KEY}).status_code == 503
    assert lenient.simulate_get("/v1/subjects", params={"api_key": "wrong"}).status_code == 403


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS - {"/readyz", "/ready"}))
def test_public_paths_need_neither_key_nor_tenant(make_doorstep: MakeClient, path: str) -> None:
    client = make_doorstep(api_key=KEY, require_tenant=True)
    assert client.simulate_get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/timeline", "/v1/nothing", "/healthz/", "/v1/version/x", "//healthz"])
def test_everything_else_needs_the_key(guarded: falcon.testing.TestClient, path: str) -> None:
    assert guarded.simulate_get(path).status_code == 401


def test_a_required_tenant_is_demanded(make_doorstep: MakeClient) -> None:
    client = make_doorstep(require_tenant=True)
    answer = client.simulate_get("/v1/subjects")
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "missing_tenant")
    assert client.simulate_get("/v1/subjects", headers={"X-Tenant-ID": "acme"}).status_code == 503


@pytest.mark.parametrize("tenant", ["x" * 257, "tab\there", "\x7f", "\xff"])
def test_a_tenant_is_printable_and_not_too_long(doorstep: falcon.testing.TestClient, tenant: str) -> None:
    answer = doorstep.simulate_get("/v1/subjects", headers={"X-Tenant-ID": tenant})
    assert problems(answer) == {"header.X-Tenant-ID": "invalid_value"}


def subjects(client: falcon.testing.TestClient, headers: dict[str, str]) -> list[str]:
    answer = client.simulate_get("/v1/subjects", headers=headers)
    return [subject["subject_id"] for subject in answer.json["subjects"]]


def test_a_tenant_sees_its_own_rows_and_no_others(client: falcon.testing.TestClient) -> None:
    for headers, subject in (
        ({}, "default's"),
        ({"X-Tenant-ID": "acme"}, "acme's"),
        ({"X-Tenant-ID": "bell"}, "bell's"),
    ):
        client.simulate_post("/v1/episodes", json=episode(subject_id=subject), headers=headers)
    assert subjects(client, {"X-Tenant-ID": "acme"}) == ["acme's"]
    assert subjects(client, {"X-Tenant-ID": "bell"}) == ["bell's"]
    # Unlike the original, which shows everybody's rows to a request without a tenant.
    assert subjects(client, {}) == ["default's"]
    assert subjects(client, {"X-Tenant-ID": ""}) == ["default's"]


def test_the_connectors_header_names_the_tenant_too(make_client: MakeClient) -> None:
    client = make_client(tenant_header="X-Org")
    client.simulate_post("/v1/episodes", json=episode(), headers={"x-statewave-tenant-id": "acme"})
    assert subjects(client, {"X-Org": "acme"}) == ["ada"]
    assert subjects(client, {"X-Tenant-ID": "acme"}) == []
    # The configured header counts when both are sent.
    assert subjects(client, {"X-Org": "bell", "x-statewave-tenant-id": "acme"}) == []
