"""Every operator's action leaves a row with the key's name, in the transaction of what it changed."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import msgspec
import pytest

from pipelines import audit
from storage.transactions import Pool, operator_transaction, tenant_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

SHARED = {"X-API-Key": "open sesame"}


@pytest.fixture
def guarded(make_client: MakeClient) -> falcon.testing.TestClient:
    return make_client(api_key=SHARED["X-API-Key"])


def named(client: falcon.testing.TestClient, name: str, **fields: Any) -> dict[str, str]:
    """Headers with a new key of an operator."""
    answer = client.simulate_post("/admin/keys", json={"name": name, **fields}, headers=SHARED)
    return {"X-API-Key": answer.json["key"]}


def log(client: falcon.testing.TestClient, **params: str) -> list[dict[str, Any]]:
    answer = client.simulate_get("/admin/audit", params=params, headers=SHARED)
    assert answer.status_code == 200, answer.text
    return list(answer.json["entries"])


def test_what_operators_change_is_logged_by_the_name_of_their_key(guarded: falcon.testing.TestClient) -> None:
    ada = named(guarded, "ada")
    headers = {**ada, "X-Request-ID": "r-1"}
    guarded.simulate_post("/admin/queues/compile/pause", params={"reason": "look"}, headers=headers)
    guarded.simulate_patch("/admin/tenants/acme/config", json={"receipts": "always"}, headers=headers)
    config, pause, created = log(guarded)
    assert (created["actor"], created["action"], created["details"]["name"]) == ("shared-key", "key.create", "ada")
    assert (pause["actor"], pause["action"], pause["target"]) == ("ada", "POST /admin/queues/{queue}/pause", "compile")
    assert (pause["tenant_id"], pause["details"], pause["request_id"]) == (None, {"reason": "look"}, "r-1")
    # Where an action says itself what it did, that is the row, and there is no second one.
    assert (config["actor"], config["action"], config["tenant_id"]) == ("ada", "tenant_config.update", "acme")
    assert config["details"] == {"changes": {"receipts": "always"}, "cleared": [], "version": 1}


def test_looking_leaves_no_row_and_neither_does_what_was_refused(guarded: falcon.testing.TestClient) -> None:
    ada = named(guarded, "ada", scopes=["read", "admin"])
    guarded.simulate_get("/admin/dashboard", headers=ada)
    guarded.simulate_post("/admin/queues/compile/pause", headers=ada)
    guarded.simulate_post("/admin/queues/nothing/pause", headers=SHARED)
    guarded.simulate_post("/v1/episodes", json=episode(), headers=SHARED)
    assert [row["action"] for row in log(guarded)] == ["key.create"]


def test_the_row_comes_and_goes_with_the_transaction(pool: Pool) -> None:
    def rows() -> list[Any]:
        with operator_transaction(pool) as conn:
            return conn.execute("select actor, tenant_id, action from audit_log order by id").fetchall()

    def fail() -> None:
        with operator_transaction(pool) as conn:
            conn.execute("insert into queue_pauses (queue) values ('compile')")
            conn.execute("select 1 / 0")

    with audit.acting(actor="ada", action="try", tenant_id=None):
        with pytest.raises(Exception, match="division"):
            fail()
        with operator_transaction(pool) as conn:
            conn.execute("select * from queue_pauses")
        assert rows() == []
        with tenant_transaction(pool, "acme") as conn:
            conn.execute("insert into subjects (tenant_id, subject_id) values ('acme', 'ada')")
        with operator_transaction(pool) as conn:
            conn.execute("insert into queue_pauses (queue) values ('compile')")
    # One row for the whole action, with the first that it changed.
    assert rows() == [("ada", "acme", "try")]


def test_the_log_is_filtered_and_paged(guarded: falcon.testing.TestClient) -> None:
    ada = named(guarded, "ada")
    for tenant in ("acme", "globex", "acme"):
        guarded.simulate_patch(f"/admin/tenants/{tenant}/config", json={"receipts": "never"}, headers=ada)
    assert len(log(guarded, actor="ada")) == 3
    assert [row["details"]["version"] for row in log(guarded, tenant_id="acme", actor="ada")] == [2, 1]
    assert [row["actor"] for row in log(guarded, action="key.create")] == ["shared-key"]
    entries = log(guarded)
    assert entries == sorted(entries, key=lambda row: row["id"], reverse=True)
    third = entries[1]["at"]
    assert len(log(guarded, since=third)) == 2 and len(log(guarded, until=third)) == 2
    seen, cursor = [], ""
    while cursor is not None:
        page = guarded.simulate_get("/admin/audit", params={"limit": "1", "cursor": cursor}, headers=SHARED).json
        seen += page["entries"]
        cursor = page["next_cursor"]
    assert seen == entries
    answer = guarded.simulate_get("/admin/audit", params={"since": "yesterday"}, headers=SHARED)
    assert problems(answer) == {"query.since": "invalid_value"}


def test_the_log_is_exported_as_lines(guarded: falcon.testing.TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", 2)
    for number in range(5):
        named(guarded, f"k{number}")
    answer = guarded.simulate_get("/admin/audit", params={"format": "jsonl"}, headers=SHARED)
    assert answer.headers["content-type"] == "application/jsonl"
    assert [json.loads(line) for line in answer.text.splitlines()] == log(guarded)
    nothing = guarded.simulate_get("/admin/audit", params={"format": "jsonl", "action": "none"}, headers=SHARED)
    assert nothing.text == ""


def test_details_can_be_logged_whatever_operators_ask(guarded: falcon.testing.TestClient) -> None:
    guarded.simulate_post(
        "/admin/queues/compile/pause", params={"reason": 'ß "\\ \u2028 😀'}, headers={**SHARED, "X-Request-ID": "x"}
    )
    assert log(guarded)[0]["details"] == {"reason": 'ß "\\ \u2028 😀'}
    assert msgspec.json.encode(log(guarded)[0])
