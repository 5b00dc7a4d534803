"""What a policy costs in round trips, and what receipts are told about it."""

from __future__ import annotations

import json

import pytest
from psycopg.types.json import Jsonb

from pipelines.compile import compile_now
from pipelines.context import Assembly, ContextRequest, assemble
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.policy import bundles
from pipelines.principal import SHARED
from pipelines.services import Services
from storage.transactions import operator_transaction, statements_sent

RULES = [
    {"id": "mail", "when": {"memory_has_any_label": ["pii.email"], "caller_type": "bot"}, "action": "deny"},
    {"id": "health", "when": {"memory_has_any_label": ["health"], "caller_type": "bot"}, "action": "redact"},
]


@pytest.fixture
def told(services: Services) -> Services:
    """Two tenants with the same facts; nothing is labelled."""
    for tenant in ("plain", "governed"):
        for text in ("My email address is ada@globex.example.", "I live in Porto."):
            episode = NewEpisode(
                subject_id="ada", session_id=None, source="chat", type="message", payload={"text": text}
            )
            append_episodes(services, tenant, [episode], request_id=None)
        compile_now(services, tenant, "ada", request_id=None)
    return services


def govern(services: Services, mode: str) -> None:
    text = json.dumps({"version": 1, "rules": RULES})
    bundles.upload(services, "governed", text, activate=True, principal=SHARED)
    with operator_transaction(services.pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values ('governed', %s)", (Jsonb({"policy_mode": mode}),)
        )


def ask(services: Services, tenant: str, caller_type: str | None = "bot") -> tuple[Assembly, int]:
    """The answer, and the statements it took."""
    statements_sent.set(0)
    request = ContextRequest(subject_id="ada", task="Where does Ada live?", max_tokens=500, caller_type=caller_type)
    return assemble(services, tenant, request), statements_sent.get()


def test_a_policy_costs_a_statement_once_and_none_where_no_rule_concerns_the_caller(told: Services) -> None:
    _, plain = ask(told, "plain")
    govern(told, "enforce")
    assert ask(told, "governed", caller_type="human")[1] == plain + 1  # Its text is read once by each process.
    assert ask(told, "plain")[1] == plain
    assert ask(told, "governed", caller_type="human")[1] == plain
    assert ask(told, "governed")[1] == plain + 1
    assert ask(told, "governed")[1] == plain


@pytest.mark.parametrize("mode", ["log_only", "enforce"])
def test_receipts_are_told_what_each_rule_did(told: Services, mode: str) -> None:
    govern(told, mode)
    with operator_transaction(told.pool) as conn:
        labelled = conn.execute(
            "update memories set sensitivity_labels = '{other,pii.email}' where tenant_id = 'governed'"
            " and kind <> 'episode_summary' and content ilike '%globex%' returning id::text"
        ).fetchall()
    assembly, _ = ask(told, "governed")
    decisions = assembly.decisions
    assert decisions.mode == mode
    assert decisions.bundle_hash and decisions.bundle_yaml
    assert [(f.memory_id, f.rule_id, f.action, f.matched_labels) for f in decisions.filters_applied] == [
        (id, "mail", "deny", ["pii.email"]) for (id,) in labelled
    ]
    assert [(f.rule_id, f.action, f.matched) for f in decisions.filters_skipped] == [("health", "redact", False)]
    assert ("globex" in assembly.bundle.assembled_context) == (mode == "log_only")


def test_without_a_policy_receipts_are_told_so(told: Services) -> None:
    decisions = ask(told, "plain")[0].decisions
    assert (decisions.bundle_hash, decisions.bundle_yaml, decisions.mode) == (None, None, "log_only")
    assert decisions.filters_applied == [] and decisions.filters_skipped == []
