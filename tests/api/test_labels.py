"""Labels of memories and their suggestions (contract: core §6.4, §6.5; governance §3, §5)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import falcon.testing
import pytest

from storage.transactions import Pool, operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

Client = falcon.testing.TestClient
ACME = {"X-Tenant-ID": "acme"}


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client(auto_labeling_enabled=True)


def told(client: Client, *texts: str, subject: str = "ada", headers: dict[str, str] = ACME) -> list[dict[str, Any]]:
    """Each text becomes an episode and is compiled; the memories, newest first."""
    for text in texts:
        payload = {"messages": [{"role": "user", "content": text}]}
        answer = client.simulate_post(
            "/v1/episodes", json=episode(subject_id=subject, payload=payload), headers=headers
        )
        assert answer.status_code == 201
    compiled = client.simulate_post("/v1/memories/compile", json={"subject_id": subject}, headers=headers)
    assert compiled.status_code == 200
    memories: list[dict[str, Any]] = compiled.json["memories"]
    assert memories
    return memories


def suggested(client: Client, **params: Any) -> dict[str, Any]:
    answer = client.simulate_get("/admin/memories/with-suggested-labels", params=params)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json
    return page


def patch(client: Client, memory_id: str, labels: Any, **kwargs: Any) -> Any:
    return client.simulate_patch(
        f"/v1/memories/{memory_id}/labels", json={"sensitivity_labels": labels}, headers=ACME, **kwargs
    )


def test_labels_are_trimmed_lower_cased_unique_and_sorted(client: Client) -> None:
    memory = told(client, "I live in Porto.")[0]
    answer = patch(client, memory["id"], [" PII.Email ", "b", "a", "b", "  "])
    assert answer.status_code == 200
    assert answer.json["sensitivity_labels"] == ["a", "b", "pii.email"]
    assert {**answer.json, "sensitivity_labels": [], "updated_at": 0} == {**memory, "updated_at": 0}
    assert patch(client, memory["id"], []).json["sensitivity_labels"] == []


def test_more_than_32_labels_are_422_for_clients_and_400_for_operators(client: Client) -> None:
    id = told(client, "I live in Porto.")[0]["id"]
    many = [f"label-{n}" for n in range(33)]
    assert problems(patch(client, id, many)) == {"body.sensitivity_labels": "too_long"}
    assert patch(client, id, [*many[:32], many[0].upper()]).status_code == 200
    answer = client.simulate_patch(f"/admin/memories/{id}/labels", json={"sensitivity_labels": many})
    assert answer.status_code == 400
    assert problems(patch(client, id, "pii")) == {"body.sensitivity_labels": "wrong_type"}


@pytest.mark.parametrize("id", ["nonsense", str(uuid4())])
def test_unknown_memories_are_404(client: Client, id: str) -> None:
    assert patch(client, id, ["pii"]).status_code == 404


def test_a_memory_of_another_tenant_is_unknown(client: Client) -> None:
    id = told(client, "I live in Porto.", headers={"X-Tenant-ID": "globex"})[0]["id"]
    assert patch(client, id, ["pii"]).status_code == 404
    body = {"sensitivity_labels": ["pii"]}
    assert client.simulate_patch(f"/admin/memories/{id}/labels?tenant_id=acme", json=body).status_code == 404
    answer = client.simulate_patch(f"/admin/memories/{id}/labels?tenant_id=globex", json=body)
    assert answer.status_code == 200
    assert set(answer.json) == {
        *("id", "kind", "content", "summary", "confidence", "status", "source_episode_ids"),
        *("valid_from", "valid_to", "sensitivity_labels", "suggested_labels", "created_at"),
    }


def test_every_change_keeps_the_former_state_and_says_who(client: Client, pool: Pool) -> None:
    id = told(client, "I live in Porto.")[0]["id"]
    patch(client, id, ["a"])
    patch(client, id, ["a"])
    patch(client, id, ["b"])
    with operator_transaction(pool) as conn:
        versions = conn.execute(
            "select state -> 'sensitivity_labels' from memory_versions where memory_id = %s order by known_from", (id,)
        ).fetchall()
        logged = conn.execute(
            "select actor, tenant_id, target, details::text from audit_log"
            " where action = 'memory.set_labels' order by id"
        ).fetchall()
    assert versions == [([],), (["a"],)]
    assert [row[:3] for row in logged] == [("anonymous", "acme", id)] * 2
    assert '"removed":["a"]' in logged[1][3]


def test_detected_labels_are_suggested_and_change_nothing_else(client: Client) -> None:
    told(client, "My email is ada@globex.example and my favourite tea is oolong.")
    page = suggested(client, tenant_id="acme")
    assert page["total"] >= 1
    assert {entry["label"] for entry in page["catalogue"]} >= {
        "pii.email",
        "pii.phone",
        "financial.card",
        "secret.token",
    }
    found = page["memories"][0]
    assert found["suggested_labels"] == ["pii.email"]
    assert found["sensitivity_labels"] == []
    assert found["tenant_id"] == "acme"
    assert suggested(client, label="pii.phone")["total"] == 0
    assert suggested(client, label="PII.Email", subject_id="ada")["total"] == page["total"]
    assert suggested(client, subject_id="nobody")["memories"] == []


def test_nothing_is_suggested_while_it_is_turned_off_and_the_list_still_answers(make_client: MakeClient) -> None:
    client = make_client()
    told(client, "My email is ada@globex.example.")
    page = suggested(client)
    assert (page["memories"], page["total"], page["limit"], page["offset"]) == ([], 0, 50, 0)
    assert page["catalogue"]


def test_promotion_moves_a_suggestion_and_says_by_whom(client: Client) -> None:
    told(client, "My email is ada@globex.example.")
    memory = suggested(client)["memories"][0]
    patch(client, memory["id"], ["manual"])
    answer = client.simulate_post(f"/admin/memories/{memory['id']}/promote-labels", json={"labels": ["PII.email "]})
    assert answer.status_code == 200
    assert answer.json == {
        "memory_id": memory["id"],
        "promoted": ["pii.email"],
        "sensitivity_labels": ["manual", "pii.email"],
        "suggested_labels": [],
    }
    listed = client.simulate_get("/v1/timeline", params={"subject_id": "ada"}, headers=ACME).json["memories"]
    promotion = next(m for m in listed if m["id"] == memory["id"])["metadata"]["label_promotions"]
    assert [(p["labels"], p["promoted_by"]) for p in promotion] == [(["pii.email"], "anonymous")]


def test_promotion_refuses_in_the_order_of_the_contract(client: Client) -> None:
    told(client, "My email is ada@globex.example.")
    id = suggested(client)["memories"][0]["id"]

    def refused(id: str, labels: list[str]) -> tuple[int, str]:
        answer = client.simulate_post(f"/admin/memories/{id}/promote-labels", json={"labels": labels})
        return answer.status_code, answer.json["error"]["code"]

    assert refused("nonsense", []) == (422, "promote_labels.empty")
    assert refused("nonsense", ["a", "A"]) == (422, "promote_labels.duplicate_labels")
    assert refused("nonsense", ["a"]) == (400, "bad_request")
    assert refused(str(uuid4()), ["a"]) == (404, "not_found")
    assert refused(id, ["pii.phone"]) == (422, "promote_labels.not_suggested")


def test_a_suggestion_may_be_dismissed(client: Client) -> None:
    told(client, "My email is ada@globex.example.")
    id = suggested(client)["memories"][0]["id"]
    before = suggested(client)["total"]
    answer = client.simulate_post(f"/admin/memories/{id}/dismiss-labels", json={"labels": ["pii.email"]})
    assert answer.json == {
        "memory_id": id,
        "dismissed": ["pii.email"],
        "sensitivity_labels": [],
        "suggested_labels": [],
    }
    assert suggested(client)["total"] == before - 1


@pytest.mark.parametrize(("verb", "authoritative"), [("promote", ["pii.email"]), ("dismiss", [])])
def test_many_are_settled_after_a_preview(client: Client, pool: Pool, verb: str, authoritative: list[str]) -> None:
    told(client, "My email is ada@globex.example.")
    told(client, "My email is eve@globex.example.", subject="eve")
    total = suggested(client)["total"]
    of_eve = suggested(client, subject_id="eve")["total"]

    def settle(**body: Any) -> Any:
        body = {"labels": ["pii.email"], "subject_id": "ada", **body}
        return client.simulate_post(f"/admin/suggested-labels/{verb}", json=body)

    preview = settle().json
    assert preview == {"matched": total - of_eve, "changed": 0, "confirmed": False}
    assert settle(confirm=True).status_code == 400
    assert settle(confirm=True, expected_count=total + 7).status_code == 409
    assert suggested(client)["total"] == total, "nothing was changed yet"
    done = settle(confirm=True, expected_count=preview["matched"]).json
    assert done == {"matched": preview["matched"], "changed": preview["matched"], "confirmed": True}
    assert suggested(client)["total"] == of_eve
    with operator_transaction(pool) as conn:
        rows = conn.execute(
            "select sensitivity_labels, suggested_labels from memories where subject_id = 'ada'"
            " and (metadata -> 'label_promotions' is not null) = %s",
            (verb == "promote",),
        ).fetchall()
        logged = conn.execute("select count(*) from audit_log where action like %s", (f"memory.{verb}%",)).fetchone()
    assert ([*authoritative], []) in [(list(a), list(b)) for a, b in rows]
    assert logged == (1,)
    assert settle(labels=[], confirm=False).status_code == 422
