"""Webhooks over HTTP, for operators (contract: governance §9.6; endpoints, replay and test are our own)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import falcon.testing
import pytest

from pipelines.services import Services
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems
from tests.fixtures.receiver import Receiver, answer
from tests.pipelines.webhook_stories import deliver_due, with_settings

Client = falcon.testing.TestClient

URL = "https://hooks.example.com/statewave"
ENDPOINTS = "/admin/tenants/acme/webhooks"


@pytest.fixture
def told(make_client: MakeClient, receiver: Receiver) -> Client:
    """An application that sends everything to the receiver."""
    return make_client(webhook_url=receiver.url, webhook_allow_private=True)


def say(client: Client, *subject_ids: str, tenant_id: str = "acme") -> None:
    for subject_id in subject_ids:
        sent = client.simulate_post(
            "/v1/episodes", json=episode(subject_id=subject_id), headers={"X-Tenant-ID": tenant_id}
        )
        assert sent.status_code == 201


def get(client: Client, path: str, **query: Any) -> Any:
    found = client.simulate_get(path, params=query)
    assert found.status_code == 200, found.text
    return found.json


def created(client: Client, **fields: Any) -> dict[str, Any]:
    made = client.simulate_post(ENDPOINTS, json={"url": URL} | fields)
    assert made.status_code == 201, made.text
    endpoint: dict[str, Any] = made.json
    return endpoint


def test_while_nobody_listens_nothing_is_counted(client: Client) -> None:
    say(client, "ada")
    assert get(client, "/admin/webhooks/stats") == {"pending": 0, "delivered": 0, "dead_letter": 0, "total": 0}
    assert get(client, "/admin/webhooks", limit=1) == {"events": [], "total": 0, "limit": 1, "offset": 0}


def test_a_delivery_has_the_keys_of_the_contract(told: Client, services: Services, receiver: Receiver) -> None:
    receiver.then(answer(400, b"no"))
    say(told, "ada")
    deliver_due(with_settings(services, webhook_url=receiver.url))
    (event,) = get(told, "/admin/webhooks")["events"]
    assert event.keys() >= {
        "id", "event", "status", "attempts", "max_attempts", "last_attempt_at", "next_attempt_at", "last_error",
        "http_status", "created_at", "delivered_at", "tenant_id",
    }  # fmt: skip
    assert (event["event"], event["status"], event["tenant_id"]) == ("episode.created", "dead_letter", "acme")
    assert (event["attempts"], event["http_status"], event["last_error"]) == (1, 400, "HTTP 400: no")
    detail = get(told, f"/admin/webhooks/{event['id']}")
    assert detail.items() >= event.items()
    assert [entry["error"] for entry in detail["history"]] == ["HTTP 400: no"]
    assert not {"payload", "data", "body"} & detail.keys()


def test_the_id_a_receiver_saw_finds_the_delivery(told: Client, services: Services, receiver: Receiver) -> None:
    say(told, "ada")
    deliver_due(with_settings(services, webhook_url=receiver.url))
    assert get(told, f"/admin/webhooks/{receiver.ids[0]}")["status"] == "delivered"


def test_filters_and_pages(told: Client) -> None:
    say(told, "ada", "bob")
    say(told, "ada", tenant_id="globex")
    assert get(told, "/admin/webhooks", tenant_id="acme")["total"] == 2
    assert get(told, "/admin/webhooks", status="delivered")["total"] == 0
    assert get(told, "/admin/webhooks", event_type="memories.compiled")["total"] == 0
    page = get(told, "/admin/webhooks", limit=1, offset=1)
    assert (len(page["events"]), page["total"], page["limit"], page["offset"]) == (1, 3, 1, 1)
    newest = get(told, "/admin/webhooks")["events"]
    assert [event["tenant_id"] for event in newest] == ["globex", "acme", "acme"]
    assert get(told, "/admin/webhooks/stats", tenant_id="globex")["total"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [({"limit": 101}, "query.limit"), ({"limit": 0}, "query.limit"), ({"status": "failed"}, "query.status"),
     ({"offset": -1}, "query.offset"), ({"endpoint_id": "x"}, "query.endpoint_id")],
)  # fmt: skip
def test_bad_filters_are_named(client: Client, query: dict[str, Any], field: str) -> None:
    assert field in problems(client.simulate_get("/admin/webhooks", params=query))


def test_purging_needs_a_criterion_and_spares_what_is_pending(told: Client) -> None:
    say(told, "ada")
    for query in ({}, {"status": "pending"}):
        refused = told.simulate_delete("/admin/webhooks", params=query)
        assert (refused.status_code, refused.json["error"]["code"]) == (400, "bad_request")
    assert told.simulate_delete("/admin/webhooks", params={"tenant_id": "acme"}).json == {"deleted": 0}


def test_dead_letters_are_sent_again(told: Client, services: Services, receiver: Receiver) -> None:
    own = with_settings(services, webhook_url=receiver.url)
    receiver.then(*[answer(400)] * 3)
    say(told, "ada", "bob", "eve")
    deliver_due(own)
    replayed = told.simulate_post("/admin/webhooks/replay", json={"event_type": "episode.created", "limit": 2})
    assert replayed.json == {"replayed": 2, "remaining": 1}
    (dead,) = get(told, "/admin/webhooks", status="dead_letter")["events"]
    assert told.simulate_post(f"/admin/webhooks/{dead['id']}/replay").json == {"replayed": 1, "remaining": 0}
    again = told.simulate_post(f"/admin/webhooks/{dead['id']}/replay")
    assert (again.status_code, again.json["error"]["code"]) == (409, "conflict")
    assert told.simulate_post("/admin/webhooks/replay", json={}).json == {"replayed": 0, "remaining": 0}
    deliver_due(own)
    assert get(told, "/admin/webhooks/stats") == {"pending": 0, "delivered": 3, "dead_letter": 0, "total": 3}
    assert told.simulate_delete("/admin/webhooks", params={"status": "delivered"}).json == {"deleted": 3}


@pytest.mark.parametrize("path", ["/admin/webhooks/{}", f"{ENDPOINTS}/{{}}"])
def test_what_is_unknown_is_not_found_and_what_is_no_id_is_named(client: Client, path: str) -> None:
    assert client.simulate_get(path.format(uuid4())).status_code == 404
    assert "invalid_value" in problems(client.simulate_get(path.format("7"))).values()


def test_a_secret_is_shown_once(client: Client) -> None:
    endpoint = created(client, events=["memories.compiled"], description="ours")
    assert endpoint["secret"].startswith("whsec_")
    path = f"{ENDPOINTS}/{endpoint['id']}"
    shown = {name: value for name, value in endpoint.items() if name != "secret"}
    assert get(client, path) == shown
    assert get(client, ENDPOINTS) == {"endpoints": [shown]}
    rotated = client.simulate_post(f"{path}/rotate-secret", json={}).json
    assert rotated["secret"] != endpoint["secret"] and rotated["former_secret_until"]


def test_an_endpoint_lives_and_dies(client: Client) -> None:
    path = f"{ENDPOINTS}/{created(client)['id']}"
    changed = client.simulate_patch(path, json={"enabled": False, "events": ["subject.deleted"]}).json
    assert (changed["enabled"], changed["disabled_reason"]) == (False, "disabled by an operator")
    assert changed["events"] == ["subject.deleted"]
    assert client.simulate_delete(path).json["undelivered_dropped"] == 0
    assert client.simulate_delete(path).status_code == 404
    assert get(client, ENDPOINTS) == {"endpoints": []}


def test_what_is_wrong_with_an_endpoint_is_named(client: Client) -> None:
    bad = {"url": "http://169.254.169.254/", "events": ["memory.created"], "secret": "weak"}
    refused = problems(client.simulate_post(ENDPOINTS, json=bad))
    assert refused.keys() == {"body.url", "body.events", "body.secret"}
    assert problems(client.simulate_post(ENDPOINTS, json={})) == {"body.url": "missing"}


def test_endpoints_belong_to_the_tenant_of_the_path(client: Client) -> None:
    endpoint = created(client)
    assert get(client, "/admin/tenants/globex/webhooks") == {"endpoints": []}
    assert client.simulate_get(f"/admin/tenants/globex/webhooks/{endpoint['id']}").status_code == 404


def test_the_default_tenant_has_a_name_in_paths(client: Client) -> None:
    made = client.simulate_post("/admin/tenants/-/webhooks", json={"url": URL}).json
    assert made["tenant_id"] == ""
    say(client, "ada", tenant_id="")
    assert [event["endpoint_id"] for event in get(client, "/admin/webhooks")["events"]] == [made["id"]]


def test_an_endpoint_is_tried_out(make_client: MakeClient, receiver: Receiver) -> None:
    client = make_client(webhook_allow_private=True)
    path = f"{ENDPOINTS}/{created(client, url=receiver.url)['id']}/test"
    receiver.then(answer(204), answer(500, b"later"))
    good, bad = (client.simulate_post(path).json for _ in range(2))
    assert (good["delivered"], good["http_status"], good["error"]) == (True, 204, None)
    assert (bad["delivered"], bad["http_status"], bad["error"]) == (False, 500, "HTTP 500: later")
    assert get(client, "/admin/webhooks")["total"] == 0


def test_the_admin_api_needs_the_key_but_no_tenant_header(make_client: MakeClient) -> None:
    client = make_client(api_key="k", require_tenant=True)
    assert client.simulate_get("/admin/webhooks").status_code == 401
    assert client.simulate_get("/admin/webhooks", headers={"X-API-Key": "k"}).status_code == 200
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": "k"}).status_code == 400


def test_a_batch_is_one_event_and_an_erasure_another(told: Client) -> None:
    batch = {"episodes": [episode(subject_id="ada"), episode(subject_id="bob")]}
    assert told.simulate_post("/v1/episodes/batch", json=batch).status_code == 201
    assert told.simulate_delete("/v1/subjects/ada").status_code == 200
    events = [event["event"] for event in get(told, "/admin/webhooks")["events"]]
    assert events == ["subject.deleted", "episodes.batch_created"]
