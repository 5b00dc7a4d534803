"""Erasing as an operator, and reading the ledger of erasures (contract: governance §10, and beyond it)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import falcon.testing
import pytest

from pipelines.services import Services
from storage.transactions import operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

Client = falcon.testing.TestClient


@pytest.fixture
def manual(make_client: MakeClient) -> Client:
    """A client of an API that compiles nothing by itself."""
    return make_client(auto_compile_after_seconds=None)


def tell(client: Client, *subjects: str, tenant_id: str = "acme") -> list[dict[str, Any]]:
    """One compiled episode about each; the memories of the last."""
    made: list[dict[str, Any]] = []
    headers = {"X-Tenant-ID": tenant_id}
    for subject_id in subjects:
        payload = {"messages": [{"role": "user", "content": "My name is Ada Moreau and I live in Lyon."}]}
        client.simulate_post("/v1/episodes", json=episode(subject_id=subject_id, payload=payload), headers=headers)
        answer = client.simulate_post("/v1/memories/compile", json={"subject_id": subject_id}, headers=headers)
        made = answer.json["memories"]
    return made


def subjects_of(client: Client, tenant_id: str = "acme") -> list[str]:
    answer = client.simulate_get("/v1/subjects", headers={"X-Tenant-ID": tenant_id})
    return [subject["subject_id"] for subject in answer.json["subjects"]]


def test_an_operator_erases_a_subject_and_finds_its_receipt(manual: Client) -> None:
    memories = tell(manual, "ada")
    answer = manual.simulate_delete("/admin/subjects/ada", params={"reason": "request 17"})
    assert answer.status_code == 200
    told = answer.json
    erasure_id = told.pop("erasure_id")
    assert told == {"subject_id": "ada", "episodes_deleted": 1, "memories_deleted": len(memories)}
    entry = manual.simulate_get(f"/admin/erasures/{erasure_id}").json
    assert entry["state"] == "unproved" and entry["proof"] is None
    assert entry["receipt"]["reason"] == "request 17" and entry["receipt"]["erased_by"] == "anonymous"
    verdict = manual.simulate_get(f"/admin/erasures/{erasure_id}/verify").json
    assert verdict["matches_ledger"] and verdict["reason"] == "no_signature"


def test_nothing_to_erase_is_zeros_without_a_receipt(manual: Client) -> None:
    answer = manual.simulate_delete("/admin/subjects/nobody")
    assert answer.status_code == 200
    assert answer.json == {"subject_id": "nobody", "episodes_deleted": 0, "memories_deleted": 0, "erasure_id": None}
    assert manual.simulate_get("/admin/erasures").json == {"erasures": [], "next_cursor": None, "limit": 50}


def test_a_subject_that_several_tenants_have_must_be_named_with_its_tenant(manual: Client) -> None:
    tell(manual, "ada")
    tell(manual, "ada", tenant_id="globex")
    assert manual.simulate_delete("/admin/subjects/ada").status_code == 409
    assert manual.simulate_delete("/admin/subjects/ada", params={"tenant_id": "globex"}).status_code == 200
    assert subjects_of(manual) == ["ada"] and subjects_of(manual, "globex") == []


def test_one_memory_is_erased(manual: Client) -> None:
    memory = tell(manual, "ada")[0]
    answer = manual.simulate_delete(f"/admin/memories/{memory['id']}")
    assert (answer.json["memories_deleted"], answer.json["episodes_deleted"]) == (1, 0)
    assert manual.simulate_delete(f"/admin/memories/{memory['id']}").status_code == 404
    assert problems(manual.simulate_delete("/admin/memories/7")) != {}


def test_a_deletion_by_filter_is_looked_at_first_and_confirmed(manual: Client) -> None:
    tell(manual, "demo_1", "demo_2", "demo%3", "ada")
    which = {"subject_id_prefix": "demo_", "tenant_id": "acme"}
    look = manual.simulate_post("/admin/subjects/preview-delete", json=which).json
    assert look["matched"] == 2 and look["total_episodes"] == 2 and look["total_memories"] > 0
    assert [subject["subject_id"] for subject in look["sample"]] == ["demo_1", "demo_2"]
    unconfirmed = manual.simulate_post("/admin/subjects/bulk-delete", json={**which, "expected_count": 2})
    assert unconfirmed.status_code == 400
    changed = {**which, "expected_count": 1, "confirm": True}
    assert manual.simulate_post("/admin/subjects/bulk-delete", json=changed).status_code == 409
    done = manual.simulate_post("/admin/subjects/bulk-delete", json={**changed, "expected_count": 2}).json
    assert (done["deleted_subjects"], done["deleted_episodes"], done["failed"]) == (2, 2, [])
    assert subjects_of(manual) == ["ada", "demo%3"]
    entries = manual.simulate_get("/admin/erasures").json["erasures"]
    assert [entry["receipt"]["part_of"] for entry in entries] == [done["part_of"]] * 2


@pytest.mark.parametrize("bound", ["SECONDS_AT_MOST", "MOST_AT_ONCE"])
def test_a_large_deletion_is_carried_out_call_by_call(
    manual: Client, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Each call ends in time and says what is left, so no connection breaks in the middle of it."""
    monkeypatch.setattr(f"pipelines.bulk_erasure.{bound}", -1 if bound == "SECONDS_AT_MOST" else 1)
    tell(manual, "ada", "eve", "bob")
    calls = []
    remaining = 3
    while remaining:
        body = {"match_all": True, "expected_count": remaining, "confirm": True}
        done = manual.simulate_post("/admin/subjects/bulk-delete", json=body).json
        assert done["deleted_subjects"] == 1
        remaining = done["remaining"]
        calls.append(remaining)
    assert calls == [2, 1, 0]


def test_a_deletion_without_a_filter_must_say_that_it_means_all(manual: Client) -> None:
    tell(manual, "ada")
    for path, more in (("preview-delete", {}), ("bulk-delete", {"expected_count": 1, "confirm": True})):
        assert manual.simulate_post(f"/admin/subjects/{path}", json=more).status_code == 400
        body = {**more, "older_than_days": 1}
        answer = manual.simulate_post(f"/admin/subjects/{path}", json=body)
        assert answer.status_code == (200 if path == "preview-delete" else 409)
    everything = {"match_all": True, "expected_count": 1, "confirm": True}
    assert manual.simulate_post("/admin/subjects/bulk-delete", json=everything).json["deleted_subjects"] == 1


def test_every_deletion_is_in_the_audit_log(manual: Client, services: Services) -> None:
    memory = tell(manual, "ada", "eve")[0]
    manual.simulate_delete(f"/admin/memories/{memory['id']}")
    manual.simulate_delete("/v1/subjects/ada", headers={"X-Tenant-ID": "acme"})
    manual.simulate_post("/admin/subjects/bulk-delete", json={"match_all": True, "expected_count": 1, "confirm": True})
    with operator_transaction(services.pool) as conn:
        actions = conn.execute("select action from audit_log order by id").fetchall()
    assert [action for (action,) in actions] == ["memory.erase", "subject.erase", "subjects.erase", "subject.erase"]


def test_the_ledger_is_read_page_by_page_and_by_whoever_knows_the_name(manual: Client) -> None:
    tell(manual, "ada", "eve", "bob")
    for subject_id in ("ada", "eve", "bob"):
        manual.simulate_delete(f"/admin/subjects/{subject_id}")
    first = manual.simulate_get("/admin/erasures", params={"limit": 2}).json
    second = manual.simulate_get("/admin/erasures", params={"limit": 2, "cursor": first["next_cursor"]}).json
    ids = [entry["id"] for entry in (*first["erasures"], *second["erasures"])]
    assert ids == sorted(ids, reverse=True) and len(ids) == 3 and second["next_cursor"] is None
    known = {"tenant_id": "acme", "subject_id": "ada"}
    assert [entry["id"] for entry in manual.simulate_get("/admin/erasures", params=known).json["erasures"]] == ids[-1:]
    other = manual.simulate_get("/admin/erasures", params={"tenant_id": "globex"}).json
    assert other["erasures"] == []
    stranger = {"X-Tenant-ID": "globex"}
    for path in (ids[0], f"{ids[0]}/verify"):
        assert manual.simulate_get(f"/admin/erasures/{path}", headers=stranger).status_code == 404


def test_an_erasure_is_proved_again_by_whoever_knows_the_name(manual: Client) -> None:
    tell(manual, "ada")
    erasure_id = manual.simulate_delete("/admin/subjects/ada").json["erasure_id"]
    path = f"/admin/erasures/{erasure_id}/prove"
    assert manual.simulate_post(path, json={"subject_id": "eve"}).status_code == 400
    proved = manual.simulate_post(path, json={"subject_id": "ada"}).json
    assert proved["state"] == "proved" and proved["proof"]["left"] == 0
    assert manual.simulate_post(f"/admin/erasures/{uuid4()}/prove", json={"subject_id": "ada"}).status_code == 404
    for method in ("", "/verify"):
        assert manual.simulate_get(f"/admin/erasures/{uuid4()}{method}").status_code == 404
