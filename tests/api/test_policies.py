"""Policy bundles over HTTP (contract: governance §4.5), and what callers are shown under them."""

from __future__ import annotations

from typing import Any

import falcon.testing
import msgspec
import pytest

from storage.transactions import Pool, operator_transaction
from tests.api.requests import episode, problems

Client = falcon.testing.TestClient
ACME = {"X-Tenant-ID": "acme"}

POLICY = """\
# Who may see mail addresses.
version: 1
metadata: {owner: privacy}
rules:
  - id: mail
    description: Mail addresses are for support
    when:
      memory_has_any_label: [pii.email]
      caller_type_not_in: [support]
    action: deny
  - id: health
    when: {memory_has_all_labels: [health, private]}
    action: redact
"""


def upload(client: Client, text: str = POLICY, **body: Any) -> dict[str, Any]:
    answer = client.simulate_post("/admin/policy/bundles", json={"yaml_content": text, **body})
    assert answer.status_code == 200, answer.text
    uploaded: dict[str, Any] = answer.json
    return uploaded


def configure(client: Client, pool: Pool, tenant: str = "acme", **config: Any) -> None:
    with operator_transaction(pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values (%s, %s::jsonb)"
            " on conflict (tenant_id) do update set config = excluded.config",
            (tenant, msgspec.json.encode(config).decode()),
        )


def active(client: Client, **params: Any) -> Any:
    answer = client.simulate_get("/admin/policy/active", params=params)
    assert answer.status_code == 200
    return answer.json


def test_uploading_is_idempotent_and_layout_makes_no_difference(client: Client) -> None:
    first = upload(client)
    assert {key: first[key] for key in ("version", "rule_count", "tenant_id", "active")} == {
        "version": 1,
        "rule_count": 2,
        "tenant_id": None,
        "active": False,
    }
    again = upload(client, "# another comment\n" + POLICY)
    assert again["bundle_hash"] == first["bundle_hash"]
    other = upload(client, POLICY.replace("privacy", "legal"))
    assert other["bundle_hash"] != first["bundle_hash"], "metadata is part of the hash"
    listed = client.simulate_get("/admin/policy/bundles").json["bundles"]
    assert [item["bundle_hash"] for item in listed] == [other["bundle_hash"], first["bundle_hash"]]


def test_a_bundle_is_shown_in_full(client: Client) -> None:
    hash = upload(client)["bundle_hash"]
    shown = client.simulate_get(f"/admin/policy/bundles/{hash}").json
    assert shown["yaml_content"] == POLICY
    assert shown["metadata"] == {"owner": "privacy"}
    assert shown["rules"][1] == {
        "id": "health",
        "description": "",
        "when": {"memory_has_all_labels": ["health", "private"]},
        "action": "redact",
    }
    assert client.simulate_get("/admin/policy/bundles/0000").status_code == 404


def test_one_bundle_of_a_scope_is_active_and_a_tenant_falls_back_to_the_global_one(client: Client) -> None:
    assert active(client) is None
    common = upload(client, activate=True)["bundle_hash"]
    own = upload(client, POLICY.replace("privacy", "acme"), tenant_id="acme")["bundle_hash"]
    assert active(client, tenant_id="acme")["bundle_hash"] == common
    answer = client.simulate_post("/admin/policy/activate", json={"bundle_hash": own, "tenant_id": "acme"})
    assert answer.json == {"bundle_hash": own, "active": True}
    assert active(client, tenant_id="acme")["bundle_hash"] == own
    assert active(client, tenant_id="globex")["bundle_hash"] == common
    newer = upload(client, POLICY.replace("privacy", "newer"), activate=True)["bundle_hash"]
    assert active(client)["bundle_hash"] == newer
    assert client.simulate_post("/admin/policy/activate", json={"bundle_hash": common}).status_code == 200
    assert active(client)["bundle_hash"] == common
    missing = client.simulate_post("/admin/policy/activate", json={"bundle_hash": own})
    assert missing.status_code == 404
    assert "tenant_id" in missing.json["error"]["message"]
    off = client.simulate_post("/admin/policy/deactivate", json={"tenant_id": "acme"})
    assert off.json == {"bundle_hash": own, "active": False}
    assert active(client, tenant_id="acme")["bundle_hash"] == common
    client.simulate_post("/admin/policy/deactivate", json={})
    assert active(client) is None
    assert client.simulate_post("/admin/policy/deactivate", json={}).json == {"bundle_hash": None, "active": False}
    assert client.simulate_post("/admin/policy/reload").json == {"reloaded": True}


def test_a_broken_policy_is_refused_with_every_problem_and_its_line(client: Client) -> None:
    broken = "version: 2\nrules:\n  - id: a\n    when: {label: x}\n    action: hide\n  - id: a\n"
    answer = client.simulate_post("/admin/policy/bundles", json={"yaml_content": broken})
    assert answer.status_code == 400
    assert answer.json["error"]["message"].startswith("line 1: version must be 1")
    lines = [detail["loc"][-1] for detail in answer.json["error"]["details"]]
    assert sorted(lines) == [1, 4, 5, 6, 6, 6]
    checked = client.simulate_post("/admin/policies/validate", json={"yaml_content": broken}).json
    assert checked["valid"] is False
    assert sorted(problem["line"] for problem in checked["problems"]) == sorted(lines)
    assert checked["bundle_hash"] is None


def test_a_valid_policy_is_told_its_hash_and_what_is_doubtful(client: Client) -> None:
    doubtful = "version: 1\nrules:\n  - {id: a, when: {memory_has_any_label: [PII]}, action: deny}\n"
    doubtful += "  - {id: b, when: {memory_has_any_label: [pii]}, action: redact}\n"
    checked = client.simulate_post("/admin/policies/validate", json={"yaml_content": doubtful}).json
    assert checked["valid"] is True
    assert checked["bundle_hash"] == upload(client, doubtful)["bundle_hash"]
    assert [(w["line"], w["rule"]) for w in checked["warnings"]] == [(3, "a"), (4, "b")]
    assert problems(client.simulate_post("/admin/policies/validate", json={})) == {"body.yaml_content": "missing"}


def told(client: Client, text: str, labels: list[str]) -> str:
    """Store and compile a sentence and label what became of it as a fact; its id."""
    payload = {"messages": [{"role": "user", "content": text}]}
    client.simulate_post("/v1/episodes", json=episode(payload=payload, session_id=text[:20]), headers=ACME)
    made = client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=ACME).json["memories"]
    id: str = next(memory["id"] for memory in made if memory["kind"] != "episode_summary")
    answer = client.simulate_patch(f"/v1/memories/{id}/labels", json={"sensitivity_labels": labels}, headers=ACME)
    assert answer.status_code == 200
    return id


def context(client: Client, task: str, **body: Any) -> Any:
    body = {"subject_id": "ada", "task": task, **body}
    return client.simulate_post("/v1/context", json=body, headers=ACME)


@pytest.fixture
def enforced(client: Client, pool: Pool) -> Client:
    """A tenant with one denied, one redacted and one open fact, under an enforcing policy."""
    upload(client, tenant_id="acme", activate=True)
    told(client, "My email address is ada@globex.example.", ["pii.email"])
    told(client, "I am allergic to penicillin.", ["health", "private"])
    told(client, "I live in Porto.", [])
    configure(client, pool, policy_mode="enforce")
    return client


def test_a_denied_memory_is_absent_with_its_episode_and_its_summary(enforced: Client) -> None:
    asked = context(enforced, "What is the email address of Ada?", explain=True)
    assert "globex" not in asked.text
    seen = context(enforced, "What is the email address of Ada?", caller_type="support", caller_id="agent-7")
    assert "ada@globex.example" in seen.json["assembled_context"]
    assert "Porto" in context(enforced, "Where does Ada live?").json["assembled_context"]


def test_a_redacted_memory_is_there_without_words_and_metadata(enforced: Client) -> None:
    answer = context(enforced, "What is Ada allergic to?")
    assert "penicillin" not in answer.text
    redacted = [m for m in answer.json["facts"] if m["content"] == "[REDACTED by policy]"]
    assert len(redacted) == 1
    assert redacted[0]["summary"] == "[REDACTED by policy]"
    assert redacted[0]["metadata"] == {}
    assert redacted[0]["source_episode_ids"] == []
    assert "[REDACTED by policy]" in answer.json["assembled_context"]


def test_log_only_changes_no_answer(enforced: Client, pool: Pool) -> None:
    configure(enforced, pool, policy_mode="log_only")
    assert "ada@globex.example" in context(enforced, "What is the email address of Ada?").json["assembled_context"]
    assert "penicillin" in context(enforced, "What is Ada allergic to?").text


def test_search_does_not_find_what_is_hidden(enforced: Client) -> None:
    def found(**params: str) -> str:
        answer = enforced.simulate_get("/v1/memories/search", params={"subject_id": "ada", **params}, headers=ACME)
        assert answer.status_code == 200
        return str(answer.text)

    for params in ({"q": "email"}, {"q": "email address", "semantic": "true"}, {"q": "penicillin"}, {}):
        assert "globex" not in found(**params)
        assert "penicillin" not in found(**params)
    assert "[REDACTED by policy]" not in found(q="penicillin"), "that it is found would tell what stands in it"
    assert "[REDACTED by policy]" in found()
    assert "ada@globex.example" in found(q="email", caller_type="support")


def test_a_timeline_leaves_out_what_is_hidden_and_pages_are_full(enforced: Client) -> None:
    params = {"subject_id": "ada", "limit": "1"}
    page = enforced.simulate_get("/v1/timeline", params=params, headers=ACME)
    assert "globex" not in page.text and "penicillin" not in page.text
    assert len(page.json["episodes"]) == 1
    assert page.json["episodes_has_more"] is False, "one of three episodes may be seen"


def test_who_asks_may_be_required(enforced: Client, pool: Pool) -> None:
    configure(enforced, pool, policy_mode="enforce", require_caller_identity=True)
    refused = context(enforced, "Where does Ada live?", caller_type="support")
    assert refused.status_code == 401
    assert refused.json["error"]["code"] == "http_error"
    assert "caller_id" in refused.json["error"]["message"] and "caller_type" in refused.json["error"]["message"]
    body = {"subject_id": "nobody", "session_id": "s", "caller_id": "x"}
    assert enforced.simulate_post("/v1/handoff", json=body, headers=ACME).status_code == 401
    assert context(enforced, "Where does Ada live?", caller_type="support", caller_id="a").status_code == 200


def test_a_policy_that_cannot_be_read_fails_closed_where_it_is_enforced(enforced: Client, pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        # Another row, so that nothing remembers its text.
        conn.execute("update policy_bundles set id = gen_random_uuid(), yaml_content = 'version: 9'")
    for answer in (
        context(enforced, "Where does Ada live?"),
        enforced.simulate_get("/v1/timeline", params={"subject_id": "ada"}, headers=ACME),
        enforced.simulate_get("/v1/memories/search", params={"subject_id": "ada"}, headers=ACME),
    ):
        assert answer.status_code == 503
        assert answer.json["error"]["code"] == "policy_unavailable"
    configure(enforced, pool, policy_mode="log_only")
    assert context(enforced, "Where does Ada live?").status_code == 200


def test_a_draft_is_tried_on_a_subject_and_writes_nothing(enforced: Client) -> None:
    def tried(**body: Any) -> Any:
        url = "/admin/subjects/ada/policy-sandbox?tenant_id=acme"
        return enforced.simulate_post(url, json={"yaml_content": POLICY, **body}).json

    as_anybody = tried()
    assert as_anybody["error"] is None
    by_action = {a: [r for r in as_anybody["results"] if r["action"] == a] for a in ("deny", "redact", "allow")}
    assert {a: len(rows) for a, rows in by_action.items()} == {
        "deny": as_anybody["denied"],
        "redact": as_anybody["redacted"],
        "allow": as_anybody["allowed"],
    }
    assert as_anybody["total_memories"] == len(as_anybody["results"])
    assert {r["rule_id"] for r in by_action["deny"]} == {"mail", None}, "a summary goes with its episode"
    assert by_action["redact"][0]["matched_labels"] == ["health", "private"]
    assert as_anybody["withheld_episodes"] == 2
    assert tried(caller_type="support")["withheld_episodes"] == 1
    broken = tried(yaml_content="version: 3")
    assert broken["error"].startswith("line 1") and broken["results"] == []


def test_a_draft_is_tried_on_a_tenant_page_by_page(enforced: Client) -> None:
    def tried(**body: Any) -> Any:
        body = {"yaml_content": POLICY, "tenant_id": "acme", **body}
        return enforced.simulate_post("/admin/policy/dry-run", json=body).json

    whole = tried()
    assert (whole["denied"], whole["redacted"]) == (1, 1)
    assert whole["allowed"] == whole["total_memories"] - 2
    assert [(r["rule_id"], r["memories"]) for r in whole["rules"]] == [("mail", 1), ("health", 1)]
    first = tried(limit=1)
    second = tried(limit=1, cursor=first["next_cursor"])
    assert [*first["memories"], *second["memories"]] == whole["memories"]
    assert second["next_cursor"] is None
    everything = "version: 1\nrules: [{id: bots, when: {caller_type: bot}, action: deny}]\n"
    assert tried(yaml_content=everything, caller_type="bot")["denied"] == whole["total_memories"]
    assert tried(yaml_content=everything)["denied"] == 0
