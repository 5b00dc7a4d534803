"""Receipts over HTTP (contract: governance §2.9 to §2.14)."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import pytest

from pipelines.services import Services
from tests.api.conftest import MakeClient
from tests.api.requests import episode
from tests.pipelines.receipts.stories import HMAC_KEY, KEYS, base64_of, configure

Client = falcon.testing.TestClient

ACME = {"X-Tenant-ID": "acme"}
GLOBEX = {"X-Tenant-ID": "globex"}


def emit(client: Client, *, headers: dict[str, str] = ACME, **fields: Any) -> str:
    body = {"subject_id": "ada", "task": "What is her name?", "emit_receipt": True, **fields}
    answer = client.simulate_post("/v1/context", json=body, headers=headers)
    assert answer.status_code == 200 and answer.json["receipt_emitted"] is True, answer.text
    return str(answer.json["receipt_id"])


def get(client: Client, path: str, *, status: int = 200, headers: dict[str, str] = ACME, **params: Any) -> Any:
    answer = client.simulate_get(path, headers=headers, params=params)
    assert answer.status_code == status, answer.text
    return answer.json


@pytest.fixture
def client(make_client: MakeClient, services: Services) -> Client:
    """A client of a tenant that signs its receipts, with something stored."""
    client = make_client(**KEYS)
    configure(services, "acme", receipt_signing_key_id="e1")
    client.simulate_post("/v1/episodes", json=episode(session_id="s1"), headers=ACME)
    return client


def test_a_receipt_is_read_and_verified(client: Client) -> None:
    id = emit(client, query_id="q", task_id="t", parent_receipt_id="p")
    found = get(client, f"/v1/receipts/{id}")
    assert (found["receipt_id"], found["status"], found["query_id"]) == (id, "active", "q")
    assert "tombstoned_at" not in found and found["parent_receipt_id"] == "p"
    assert get(client, f"/v1/receipts/{id}/verify") == {
        "valid": True,
        "key_id": "e1",
        "algorithm": "ed25519-canonical-v1",
        "reason": "ok",
    }


def test_an_unsigned_receipt_has_all_four_keys_too(client: Client) -> None:
    id = emit(client, headers=GLOBEX)
    assert get(client, f"/v1/receipts/{id}/verify", headers=GLOBEX) == {
        "valid": None,
        "key_id": None,
        "algorithm": None,
        "reason": "no_signature",
    }


def test_a_handoff_emits_one_as_well(client: Client) -> None:
    body = {"subject_id": "ada", "session_id": "s1", "emit_receipt": True}
    answer = client.simulate_post("/v1/handoff", json=body, headers=ACME).json
    assert answer["receipt_emitted"] is True
    assert get(client, f"/v1/receipts/{answer['receipt_id']}")["task"] == "handoff:escalation:s1"


def test_pages_descend_and_the_last_one_says_so(client: Client) -> None:
    ids = [emit(client) for _ in range(4)]
    emit(client, subject_id="bob")
    first = get(client, "/v1/receipts", subject_id="ada", limit="2")
    assert [item["receipt_id"] for item in first["receipts"]] == sorted(ids, reverse=True)[:2]
    assert first["next_cursor"] == first["receipts"][-1]["receipt_id"]
    # Exactly full, and the last: no empty page follows.
    last = get(client, "/v1/receipts", subject_id="ada", limit="2", cursor=first["next_cursor"])
    assert [item["receipt_id"] for item in last["receipts"]] == sorted(ids, reverse=True)[2:]
    assert last["next_cursor"] is None


def test_bounds_of_time_are_inclusive(client: Client) -> None:
    created = [get(client, f"/v1/receipts/{emit(client)}")["created_at"] for _ in range(3)]
    page = get(client, "/v1/receipts", subject_id="ada", since=created[1], until=created[1])
    assert [item["created_at"] for item in page["receipts"]] == [created[1]]


@pytest.mark.parametrize(
    "params", [{}, {"subject_id": "ada", "limit": "0"}, {"subject_id": "ada", "limit": "201"}, {"subject_id": ""}]
)
def test_bad_questions_are_refused(doorstep: Client, params: dict[str, str]) -> None:
    get(doorstep, "/v1/receipts", status=422, **params)


@pytest.mark.parametrize("path", ["", "/verify", "/replay"])
def test_another_tenants_receipt_is_one_that_does_not_exist(client: Client, path: str) -> None:
    id = emit(client)
    ask = client.simulate_post if path == "/replay" else client.simulate_get
    answers = []
    for probed in (id, "0" * 26):
        answer = ask(f"/v1/receipts/{probed}{path}", headers=GLOBEX)
        body = answer.json
        body["error"].pop("request_id")
        answers.append((answer.status_code, body))
    assert answers[0] == answers[1] and answers[0][0] == 404
    assert get(client, "/v1/receipts", headers=GLOBEX, subject_id="ada") == {"receipts": [], "next_cursor": None}


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"body": b"", "headers": {"Content-Type": "text/plain"}},
        {"json": {}},
        {"json": {"memories": "current"}},
        {"json": {"memories": "as_recorded"}},
    ],
)
def test_a_replay_needs_no_body(client: Client, sent: dict[str, Any]) -> None:
    id = emit(client)
    sent["headers"] = {**ACME, **sent.get("headers", {})}
    answer = client.simulate_post(f"/v1/receipts/{id}/replay", **sent)
    assert answer.status_code == 200, answer.text
    found = answer.json
    assert found["original_receipt_id"] == id and found["replay_receipt_id"]
    hashes = found["diff"]["context_hash"]
    assert hashes == {"original": hashes["original"], "replay": hashes["original"], "changed": False}
    assert set(found["diff"]["selected_entries"]) == {"added", "removed", "common"}
    assert set(found["diff"]["filters_applied"]) == {"added", "removed"}
    nested = client.simulate_post(f"/v1/receipts/{found['replay_receipt_id']}/replay", headers=ACME)
    assert (nested.status_code, nested.json["error"]["code"]) == (422, "unreplayable.nested_replay")


def test_an_unknown_way_of_replaying_is_refused(client: Client) -> None:
    answer = client.simulate_post(f"/v1/receipts/{emit(client)}/replay", json={"memories": "none"}, headers=ACME)
    assert answer.status_code == 422


def test_public_keys_are_public_and_only_public(make_client: MakeClient) -> None:
    client = make_client(**KEYS, api_key="secret", require_tenant=True)
    answer = client.simulate_get("/v1/receipts/keys")
    assert answer.status_code == 200
    assert [(key["kid"], key["kty"], key["crv"]) for key in answer.json["keys"]] == [("e1", "OKP", "Ed25519")]
    assert base64_of(HMAC_KEY) not in answer.text and "h1" not in answer.text


def test_operators_see_the_documents_alone(client: Client) -> None:
    id = emit(client)
    page = get(client, "/admin/receipts", tenant_id="acme")
    assert [item["receipt_id"] for item in page["receipts"]] == [id]
    assert "status" not in page["receipts"][0] and (page["limit"], page["next_cursor"]) == (50, None)
    assert get(client, "/admin/receipts", headers={}, subject_id="ada") == page
    assert get(client, f"/admin/receipts/{id}", headers={}) == page["receipts"][0]
    get(client, "/admin/receipts", headers={}, status=400)
    get(client, "/admin/receipts/" + "0" * 26, status=404)
    assert client.simulate_post(f"/admin/receipts/{id}/replay").json["original_receipt_id"] == id


def test_operators_audit_the_chain(client: Client) -> None:
    emit(client)
    emit(client)
    found = get(client, "/admin/receipts/audit", headers={}, tenant_id="acme")
    assert (found["intact"], found["checked"], found["head_seq"], found["first_break"]) == (True, 2, 2, None)
    get(client, "/admin/receipts/audit", headers={}, tenant_id="acme", cursor="x", status=400)


def test_operators_compare_a_receipt_with_now(client: Client) -> None:
    client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=ACME)
    id = emit(client, task="Ada Moreau")
    page = get(client, "/admin/subjects/ada/admin-receipts", tenant_id="acme")
    assert page["total"] == 1
    assert set(page["items"][0]) == {
        *("receipt_id", "as_of", "created_at", "mode", "context_size_bytes", "memory_count"),
    }
    found = get(client, f"/admin/subjects/ada/admin-receipts/{id}/regression", tenant_id="acme")
    assert found["stable"] and {item["change"] for item in found["stable"]} == {"stable"}
    assert (found["dropped"], found["receipt_id"]) == ([], id)
    get(client, f"/admin/subjects/bob/admin-receipts/{id}/regression", tenant_id="acme", status=404)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "soon"])
@pytest.mark.parametrize("field", ["as_of", "known_at"])
def test_moments_that_nothing_can_be_counted_from_are_refused(doorstep: Client, field: str, moment: str) -> None:
    body = {"subject_id": "ada", "task": "Who?", field: moment}
    assert doorstep.simulate_post("/v1/context", json=body, headers=ACME).status_code == 422


def test_what_is_answered_can_be_verified_offline(
    client: Client, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way of a third party: a page of receipts and the public keys, then the command, without any server."""
    from cli.main import main

    answer = client.simulate_post(
        "/v1/context", json={"subject_id": "ada", "task": "Grüße an Ada?", "emit_receipt": True}, headers=ACME
    ).json
    emit(client)
    page, one, keys, text = (tmp_path / name for name in ("page.json", "one.json", "keys.json", "context.md"))
    page.write_text(client.simulate_get("/v1/receipts", params={"subject_id": "ada"}, headers=ACME).text)
    one.write_text(client.simulate_get(f"/v1/receipts/{answer['receipt_id']}", headers=ACME).text)
    keys.write_text(client.simulate_get("/v1/receipts/keys").text)
    text.write_bytes(answer["assembled_context"].encode())
    assert main(["receipts", "verify", str(page), "--keys", str(keys)]) == 0
    assert "1 of 2 follow another of them in the chain, 0 do not fit" in capsys.readouterr().out
    assert main(["receipts", "verify", str(one), "--keys", str(keys), "--text", str(text)]) == 0
    assert "the text is what was delivered" in capsys.readouterr().out
    assert main(["receipts", "verify", str(one)]) == 3
    text.write_bytes(b"something else")
    assert main(["receipts", "verify", str(one), "--keys", str(keys), "--text", str(text)]) == 1
    forged = json.loads(page.read_text())
    forged["receipts"][1]["subject_id"] = "eve"
    page.write_text(json.dumps(forged))
    capsys.readouterr()
    assert main(["receipts", "verify", str(page), "--keys", str(keys)]) == 1
    told = capsys.readouterr().out
    assert "IS NOT what was signed" in told and "do not follow one another" in told
    page.write_text("no JSON")
    assert main(["receipts", "verify", str(page)]) == 2


def test_who_saw_a_memory_is_one_question(client: Client, services: Services) -> None:
    """Also when rules that hid it name it: what is found is what was delivered."""
    client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=ACME)
    memory = get(client, "/v1/memories/search", subject_id="ada", q="Moreau", kind="profile_fact")["memories"][0]
    seen = [emit(client, caller_id=caller, caller_type="agent") for caller in ('eve "x"', "bob")]
    labels = {"sensitivity_labels": ["pii.name"]}
    path = f"/v1/memories/{memory['id']}/labels"
    assert client.simulate_patch(path, json=labels, headers=ACME).status_code == 200
    rule = {"id": "r", "when": {"memory_has_any_label": ["pii.name"]}, "action": "deny"}
    bundle = {"yaml_content": json.dumps({"version": 1, "rules": [rule]}), "tenant_id": "acme", "activate": True}
    assert client.simulate_post("/admin/policy/bundles", json=bundle).status_code == 200
    configure(services, "acme", policy_mode="enforce")
    hidden = emit(client, caller_id="bob", caller_type="agent")

    def found(**params: str) -> list[str]:
        listed = get(client, "/v1/receipts", subject_id="ada", **params)["receipts"]
        operators = get(client, "/admin/receipts", tenant_id="acme", headers={}, **params)["receipts"]
        assert [receipt["receipt_id"] for receipt in listed] == [receipt["receipt_id"] for receipt in operators]
        return sorted(receipt["receipt_id"] for receipt in listed)

    assert found(memory_id=memory["id"]) == sorted(seen)
    assert found(memory_id=memory["id"], caller_id="bob") == [seen[1]]
    assert found(caller_id='eve "x"') == [seen[0]]
    assert found(caller_id="bob") == sorted([seen[1], hidden])
    unreadable = client.simulate_get("/v1/receipts", query_string="subject_id=ada&caller_id=%ff%ed%a0%80", headers=ACME)
    assert unreadable.status_code in (200, 422)
    assert found(caller_id="ob") == [] == found(memory_id=memory["source_episode_ids"][0])


def test_who_saw_an_episode_is_another(client: Client) -> None:
    timeline = get(client, "/v1/timeline", subject_id="ada")
    id = emit(client)
    episode_id = timeline["episodes"][0]["id"]
    listed = get(client, "/v1/receipts", subject_id="ada", episode_id=episode_id)["receipts"]
    assert [receipt["receipt_id"] for receipt in listed] == [id]
    assert get(client, "/v1/receipts", subject_id="ada", memory_id=episode_id)["receipts"] == []
