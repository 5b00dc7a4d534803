"""Keys: what each opens, for how long, and that a revoked one opens nothing anywhere from that moment on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import falcon.testing
import pytest

from config.clock import utcnow
from storage.transactions import Pool, operator_transaction, statements_sent
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

SHARED = {"X-API-Key": "open sesame"}


@pytest.fixture
def guarded(make_client: MakeClient) -> falcon.testing.TestClient:
    """A server that has a shared key; keys of its own are made with it."""
    return make_client(api_key=SHARED["X-API-Key"])


def make_key(client: falcon.testing.TestClient, **fields: Any) -> tuple[str, dict[str, str]]:
    """Id of a new key, and the headers that carry it."""
    answer = client.simulate_post("/admin/keys", json={"name": "k", **fields}, headers=SHARED)
    assert answer.status_code == 201, answer.text
    return answer.json["details"]["id"], {"Authorization": f"Bearer {answer.json['key']}"}


def code(answer: falcon.testing.Result) -> tuple[int, str]:
    return answer.status_code, answer.json["error"]["code"]


def test_a_key_is_shown_once_and_stored_as_a_hash(guarded: falcon.testing.TestClient, pool: Pool) -> None:
    answer = guarded.simulate_post("/admin/keys", json={"name": "ada", "tenant_id": "acme"}, headers=SHARED)
    key, details = answer.json["key"], answer.json["details"]
    assert re.fullmatch(f"sw_{details['id']}_[0-9A-Za-z]{{49}}", key)
    assert (details["tenant_id"], details["scopes"], details["created_by"]) == ("acme", ["read", "write"], "shared-key")
    shown = guarded.simulate_get(f"/admin/keys/{details['id']}", headers=SHARED)
    listed = guarded.simulate_get("/admin/keys", headers=SHARED)
    assert shown.json == details == listed.json["keys"][0]
    with operator_transaction(pool) as conn:
        row = conn.execute("select row_to_json(k)::text from api_keys k").fetchone()
        log = conn.execute("select coalesce(json_agg(a), '[]')::text from audit_log a").fetchone()
    secret = key.rsplit("_", 1)[1]
    assert row is not None and log is not None
    assert secret not in row[0] + log[0] + shown.text + listed.text


def test_a_tenants_key_acts_for_its_tenant_and_no_other(guarded: falcon.testing.TestClient) -> None:
    _, acme = make_key(guarded, tenant_id="acme")
    assert guarded.simulate_post("/v1/episodes", json=episode(), headers=acme).status_code == 201
    as_acme = {**SHARED, "X-Tenant-ID": "acme"}
    assert [s["subject_id"] for s in guarded.simulate_get("/v1/subjects", headers=as_acme).json["subjects"]] == ["ada"]
    assert guarded.simulate_get("/v1/subjects", headers={**acme, "X-Tenant-ID": "acme"}).status_code == 200
    for header in ("X-Tenant-ID", "x-tenant-id", "X-STATEWAVE-TENANT-ID"):
        answer = guarded.simulate_get("/v1/subjects", headers={**acme, header: "globex"})
        assert code(answer) == (403, "tenant_mismatch")
    # Whichever of two headers names another tenant, and whatever comes of a header that was sent twice.
    both = {**acme, "X-Tenant-ID": "acme", "X-STATEWAVE-TENANT-ID": "globex"}
    assert code(guarded.simulate_get("/v1/subjects", headers=both)) == (403, "tenant_mismatch")
    twice = {**acme, "X-Tenant-ID": "acme,globex"}
    assert code(guarded.simulate_get("/v1/subjects", headers=twice)) == (403, "tenant_mismatch")


def test_a_tenants_key_satisfies_a_required_tenant(make_client: MakeClient) -> None:
    client = make_client(api_key=SHARED["X-API-Key"], require_tenant=True)
    _, acme = make_key(client, tenant_id="acme")
    assert client.simulate_get("/v1/subjects", headers=acme).status_code == 200
    _, operator = make_key(client, name="op")
    assert code(client.simulate_get("/v1/subjects", headers=operator)) == (400, "missing_tenant")


CONTEXT = {"subject_id": "ada", "task": "greet"}


@pytest.mark.parametrize(
    ("key", "opens"),
    [
        ({"tenant_id": "acme", "scopes": ["read"]}, {"read"}),
        ({"tenant_id": "acme", "scopes": ["write"]}, {"write"}),
        ({"tenant_id": "acme"}, {"read", "write"}),
        ({"scopes": ["read"]}, {"read"}),
        ({"scopes": ["admin"]}, {"look"}),
        ({"scopes": ["write", "admin"]}, {"look", "change", "write"}),
        ({}, {"read", "write", "look", "change"}),
    ],
)
def test_scopes_decide_what_a_key_opens(
    guarded: falcon.testing.TestClient, key: dict[str, Any], opens: set[str]
) -> None:
    _, headers = make_key(guarded, **key)
    requests = {
        "read": [("GET", "/v1/subjects", None), ("POST", "/v1/context", CONTEXT), ("HEAD", "/v1/subjects", None)],
        "write": [("POST", "/v1/episodes", episode()), ("DELETE", "/v1/subjects/ada", None)],
        "look": [("GET", "/admin/queues", None), ("GET", "/ops/migrations", None), ("GET", "/metrics", None)],
        "change": [("POST", "/admin/queues/compile/resume", None), ("DELETE", "/admin/jobs?status=failed", None)],
    }
    for kind, of_kind in requests.items():
        for method, path, body in of_kind:
            path, _, query = path.partition("?")
            answer = guarded.simulate_request(method, path, json=body, headers=headers, query_string=query)
            assert (answer.status_code < 300) == (kind in opens), (method, path, answer.text)
            if kind not in opens and method != "HEAD":
                assert code(answer) == (403, "insufficient_scope")


def test_a_tenants_key_cannot_be_an_operators(guarded: falcon.testing.TestClient) -> None:
    body = {"name": "k", "tenant_id": "acme", "scopes": ["admin"]}
    assert problems(guarded.simulate_post("/admin/keys", json=body, headers=SHARED)) == {"body.scopes": "invalid_value"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/keys", {"name": "k", "tenant": "acme"}),
        ("/admin/subjects/preview-delete", {"tenant_id": "acme", "prefix": "demo_"}),
        ("/admin/subjects/bulk-delete", {"tenant_id": "acme", "prefix": "demo_", "expected_count": 0, "confirm": True}),
        ("/admin/suggested-labels/promote", {"labels": ["x"], "tenant": "acme"}),
    ],
)
def test_a_slip_in_a_name_does_not_widen_what_is_done(
    guarded: falcon.testing.TestClient, path: str, body: dict[str, Any]
) -> None:
    """Without the field that was meant, the key would be an operator's, and the deletion of everything."""
    answer = guarded.simulate_post(path, json=body, headers=SHARED)
    assert set(problems(answer).values()) == {"unknown_field"}


def test_nobody_makes_a_key_that_opens_more_than_their_own(guarded: falcon.testing.TestClient) -> None:
    _, headers = make_key(guarded, scopes=["write", "admin"])
    answer = guarded.simulate_post("/admin/keys", json={"name": "mine"}, headers=headers)
    assert code(answer) == (403, "insufficient_scope")
    answer = guarded.simulate_post("/admin/keys", json={"name": "mine", "scopes": ["write"]}, headers=headers)
    assert answer.json["details"]["created_by"] == "k"
    strong, _ = make_key(guarded, name="strong")
    answer = guarded.simulate_post(f"/admin/keys/{strong}/rotate", json={}, headers=headers)
    assert code(answer) == (403, "insufficient_scope")


def test_a_revoked_key_opens_nothing_on_any_server(make_client: MakeClient) -> None:
    """Two processes with memories of their own. The second one has the key in its memory when the first revokes it."""
    first, second = (make_client(api_key=SHARED["X-API-Key"]) for _ in range(2))
    id, headers = make_key(first, tenant_id="acme")
    # The last of these answers without having asked the database for anything.
    paths = ["/v1/subjects", "/v1/memories/search?subject_id=ada", "/v1/nothing", "/v1/memory-templates"]
    for path, _, query in (path.partition("?") for path in paths):
        assert second.simulate_get(path, query_string=query, headers=headers).status_code in (200, 404)
    assert first.simulate_delete(f"/admin/keys/{id}", headers=SHARED).json["revoked_by"] == "shared-key"
    for path, _, query in (path.partition("?") for path in paths):
        answer = second.simulate_get(path, query_string=query, headers=headers)
        if path != "/v1/nothing":
            assert code(answer) == (403, "invalid_api_key"), path
    assert code(first.simulate_get("/v1/subjects", headers=headers)) == (403, "invalid_api_key")
    # Revoking again changes nothing.
    assert first.simulate_delete(f"/admin/keys/{id}", headers=SHARED).status_code == 200


def test_a_key_revoked_while_nothing_else_happens_writes_nothing(make_client: MakeClient, pool: Pool) -> None:
    first, second = (make_client(api_key=SHARED["X-API-Key"]) for _ in range(2))
    id, headers = make_key(first, tenant_id="acme")
    assert second.simulate_post("/v1/episodes", json=episode(), headers=headers).status_code == 201
    first.simulate_delete(f"/admin/keys/{id}", headers=SHARED)
    assert second.simulate_post("/v1/episodes", json=episode(), headers=headers).status_code == 403
    with operator_transaction(pool) as conn:
        assert conn.execute("select count(*) from episodes").fetchone() == (1,)


def test_other_keys_go_on_working_when_one_is_revoked(make_client: MakeClient) -> None:
    first, second = (make_client(api_key=SHARED["X-API-Key"]) for _ in range(2))
    gone, _ = make_key(first, name="gone", tenant_id="acme")
    _, kept = make_key(first, name="kept", tenant_id="acme")
    assert second.simulate_get("/v1/subjects", headers=kept).status_code == 200
    first.simulate_delete(f"/admin/keys/{gone}", headers=SHARED)
    assert second.simulate_get("/v1/subjects", headers=kept).status_code == 200
    answer = second.simulate_get("/admin/keys", headers=SHARED, params={"include_over": "true"})
    assert {key["name"]: key["revoked_at"] is None for key in answer.json["keys"]} == {"gone": False, "kept": True}
    live = second.simulate_get("/admin/keys", headers=SHARED)
    assert [key["name"] for key in live.json["keys"]] == ["kept"]


def test_a_rotated_key_works_through_the_overlap(guarded: falcon.testing.TestClient, pool: Pool) -> None:
    old_id, old = make_key(guarded, tenant_id="acme", scopes=["read"])
    answer = guarded.simulate_post(f"/admin/keys/{old_id}/rotate", json={"overlap_seconds": 3600}, headers=SHARED)
    details = answer.json["details"]
    assert (details["name"], details["tenant_id"], details["scopes"]) == ("k", "acme", ["read"])
    new = {"X-API-Key": answer.json["key"]}
    for headers in (old, new):
        assert guarded.simulate_get("/v1/subjects", headers=headers).status_code == 200
    assert code(guarded.simulate_post(f"/admin/keys/{old_id}/rotate", json={}, headers=SHARED)) == (409, "conflict")
    with operator_transaction(pool) as conn:
        conn.execute("update api_keys set expires_at = now() - interval '1 second' where id = %s", (old_id,))
    assert code(guarded.simulate_get("/v1/subjects", headers=old)) == (403, "invalid_api_key")
    assert guarded.simulate_get("/v1/subjects", headers=new).status_code == 200


def test_a_rotation_without_overlap_ends_the_old_key_at_once(guarded: falcon.testing.TestClient) -> None:
    id, old = make_key(guarded, tenant_id="acme")
    guarded.simulate_post(f"/admin/keys/{id}/rotate", json={"overlap_seconds": 0}, headers=SHARED)
    assert code(guarded.simulate_get("/v1/subjects", headers=old)) == (403, "invalid_api_key")


def test_a_key_expires(guarded: falcon.testing.TestClient, pool: Pool) -> None:
    tomorrow = (utcnow() + timedelta(days=1)).isoformat()
    id, headers = make_key(guarded, expires_at=tomorrow)
    assert guarded.simulate_get("/v1/subjects", headers=headers).status_code == 200
    with operator_transaction(pool) as conn:
        conn.execute("update api_keys set expires_at = now() - interval '1 second' where id = %s", (id,))
    answer = guarded.simulate_get("/v1/subjects", headers=headers)
    assert code(answer) == (403, "invalid_api_key") and "expired" in answer.json["error"]["message"]
    past = {"name": "p", "expires_at": "2001-01-01T00:00:00Z"}
    assert problems(guarded.simulate_post("/admin/keys", json=past, headers=SHARED)) == {
        "body.expires_at": "invalid_value"
    }


def test_a_name_stands_for_one_key_in_use(guarded: falcon.testing.TestClient) -> None:
    id, _ = make_key(guarded, name="ada", tenant_id="acme")
    assert code(guarded.simulate_post("/admin/keys", json={"name": "ada"}, headers=SHARED)) == (409, "conflict")
    guarded.simulate_delete(f"/admin/keys/{id}", headers=SHARED)
    make_key(guarded, name="ada")
    answer = guarded.simulate_post("/admin/keys", json={"name": "shared-key"}, headers=SHARED)
    assert problems(answer) == {"body.name": "invalid_value"}


def test_keys_are_listed_page_by_page(guarded: falcon.testing.TestClient) -> None:
    names = [f"k{number}" for number in range(5)]
    for name in names:
        make_key(guarded, name=name)
    seen, cursor = [], ""
    while cursor is not None:
        answer = guarded.simulate_get("/admin/keys", params={"limit": "2", "cursor": cursor}, headers=SHARED)
        seen += [key["name"] for key in answer.json["keys"]]
        cursor = answer.json["next_cursor"]
    assert seen == names[::-1]


@pytest.mark.parametrize(
    "sent",
    [
        "sw_",
        "sw_ABCDEFGHIJKL_" + "0" * 49,
        "sw_" + "x" * 1000,
        "SW_ABCDEFGHIJKL_" + "0" * 49,
        "sw_\xff",
        "'; drop table api_keys; --",
    ],
)
def test_what_is_no_key_is_refused_without_asking_the_database(make_doorstep: MakeClient, sent: str) -> None:
    client = make_doorstep(api_key=SHARED["X-API-Key"])
    assert code(client.simulate_get("/v1/subjects", headers={"X-API-Key": sent})) == (403, "invalid_api_key")


def test_a_key_that_is_one_letter_off_is_refused(guarded: falcon.testing.TestClient) -> None:
    from pipelines.key_format import new_key

    _, headers = make_key(guarded)
    key = headers["Authorization"].removeprefix("Bearer ")
    stranger, _ = new_key()
    # The id of a key that exists, the secret of another; the checksum of neither.
    for sent in (stranger, key[:15] + stranger[15:], key.swapcase(), key + "0", key[:-1]):
        assert code(guarded.simulate_get("/v1/subjects", headers={"X-API-Key": sent})) == (403, "invalid_api_key")


def test_keys_of_its_own_are_enough_to_close_the_door(make_client: MakeClient) -> None:
    open_server = make_client()
    key = open_server.simulate_post("/admin/keys", json={"name": "k"}).json["key"]
    assert open_server.simulate_get("/v1/subjects").status_code == 200
    closed = make_client(require_api_key=True)
    assert code(closed.simulate_get("/v1/subjects")) == (401, "missing_api_key")
    assert code(closed.simulate_get("/v1/subjects", headers=SHARED)) == (403, "invalid_api_key")
    assert closed.simulate_get("/v1/subjects", headers={"X-API-Key": key}).status_code == 200


def test_an_open_server_holds_whoever_sends_a_key_to_it(make_client: MakeClient) -> None:
    client = make_client()
    key = client.simulate_post("/admin/keys", json={"name": "k", "tenant_id": "acme", "scopes": ["read"]}).json["key"]
    headers = {"X-API-Key": key}
    assert code(client.simulate_post("/v1/episodes", json=episode(), headers=headers)) == (403, "insufficient_scope")
    assert code(client.simulate_get("/v1/subjects", headers={"X-API-Key": key[:-1] + "-"})) == (403, "invalid_api_key")
    # Whatever else clients are configured with means nothing where nobody asks for it.
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": "anything"}).status_code == 200


def test_keys_in_query_strings_are_refused_unless_enabled(make_client: MakeClient) -> None:
    client = make_client()
    key = client.simulate_post("/admin/keys", json={"name": "k", "tenant_id": "acme"}).json["key"]
    answer = client.simulate_get("/v1/subjects", params={"api_key": key})
    assert code(answer) == (401, "missing_api_key") and "query" in answer.json["error"]["message"]
    lenient = make_client(allow_query_api_key=True)
    assert lenient.simulate_get("/v1/subjects", params={"api_key": key}).status_code == 200


def test_the_last_use_is_kept(guarded: falcon.testing.TestClient) -> None:
    id, headers = make_key(guarded)
    assert guarded.simulate_get(f"/admin/keys/{id}", headers=SHARED).json["last_used_at"] is None
    guarded.simulate_get("/v1/subjects", headers=headers)
    assert guarded.simulate_get(f"/admin/keys/{id}", headers=SHARED).json["last_used_at"] is not None


def test_the_shared_key_reaches_no_log(guarded: falcon.testing.TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    for sent in (SHARED["X-API-Key"], "open sesamE"):
        for headers in ({"X-API-Key": sent}, {"Authorization": f"Bearer {sent}"}):
            guarded.simulate_get("/v1/subjects", headers=headers, params={"api_key": sent})
    said = capsys.readouterr()
    assert "request" in said.out and "sesam" not in said.out + said.err


def test_a_known_key_costs_no_statement(guarded: falcon.testing.TestClient) -> None:
    """Statements of a request with the shared key, and of the same with a key of ours that was seen before."""
    _, headers = make_key(guarded, tenant_id="acme")
    body = {"subject_id": "ada", "task": "greet"}
    as_acme = {**SHARED, "X-Tenant-ID": "acme"}
    guarded.simulate_post("/v1/episodes", json=episode(), headers=as_acme)

    def statements(sent: dict[str, str]) -> int:
        guarded.simulate_post("/v1/context", json=body, headers=sent)
        assert guarded.simulate_post("/v1/context", json=body, headers=sent).status_code == 200
        return statements_sent.get()

    assert statements(headers) == statements(as_acme)


def test_a_caller_is_kept_with_the_key(guarded: falcon.testing.TestClient) -> None:
    id, _ = make_key(guarded, tenant_id="acme", caller_type="support_agent")
    assert guarded.simulate_get(f"/admin/keys/{id}", headers=SHARED).json["caller_type"] == "support_agent"
