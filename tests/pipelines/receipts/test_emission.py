"""Writing receipts: when, what they say, and that nobody goes without a context for want of one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from pipelines.receipts import chain_writer, reading
from pipelines.receipts.canonical import canonical_bytes, chain_hash
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from storage.transactions import operator_transaction, statements_sent, tenant_transaction
from tests.fixtures.faults import Killer
from tests.pipelines.receipts.stories import (
    KEYS,
    SUBJECT,
    TENANT,
    ask,
    compile_all,
    configure,
    hand_over,
    receipt,
    tell,
    with_settings,
)

TASK = "Where does she live?"


@pytest.fixture
def told(services: Services) -> Services:
    """Services of a tenant that signs, with a subject that has been compiled."""
    signing = with_settings(services, **KEYS)
    configure(signing, receipt_signing_key_id="h1")
    tell(signing, "My name is Ada Moreau.", "I live in Lisbon.", "The PDF export fails: E-4012.")
    compile_all(signing)
    return signing


GATE = [
    ("true", "always", True, False, "kill_switch"),
    ("1", "always", True, False, "kill_switch"),
    ("yes", "always", True, False, "kill_switch"),
    ("false", "always", False, True, "tenant_always"),
    ("false", "never", True, False, "tenant_never"),
    ("false", "on_request", True, True, "request_flag"),
    ("false", "on_request", False, False, "default_off"),
    ("false", "on_request", None, False, "default_off"),
]


def test_the_first_step_that_decides_wins(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(services, "I live in Lisbon.")
    for switch, tenant, asked, emitted, reason in GATE:
        configure(services, receipts=tenant)
        monkeypatch.setenv("STATEWAVE_RECEIPTS_DISABLED", switch)
        bundle = ask(services, TASK, emit=asked)
        assert (bundle.receipt_id is not None, bundle.receipt_emitted) == (emitted, emitted), reason
        if emitted:
            assert reading.body_of(receipt(services, bundle))["emission_reason"] == reason
        # An unknown subject passes the same gate.
        assert ask(services, TASK, emit=asked, subject_id="nobody").receipt_emitted is emitted, reason


def test_a_receipt_says_what_was_delivered(told: Services) -> None:
    bundle = ask(told, TASK, session_id="s1", caller_id="c-1", caller_type="support_agent")
    row = receipt(told, bundle)
    body = reading.body_of(row)
    delivered = bundle.assembled_context.encode()
    assert body["output"] == {
        "context_hash": sha256(delivered).hexdigest(),
        "context_size_bytes": len(delivered),
        "canonicalization_version": 1,
        "token_estimate": bundle.token_estimate,
    }
    assert (body["mode"], body["subject_id"], body["task"], body["tenant_id"]) == ("retrieval", SUBJECT, TASK, TENANT)
    assert (body["caller_id"], body["caller_type"], body["region"]) == ("c-1", "support_agent", None)
    entries = body["selected_entries"]
    assert [entry["rank"] for entry in entries] == list(range(1, len(entries) + 1))
    kinds = [entry["type"] for entry in entries]
    assert kinds == sorted(kinds, reverse=True) and {"memory", "episode"} == set(kinds)
    memories = [entry for entry in entries if entry["type"] == "memory"]
    assert [entry["memory_id"] for entry in memories] == [str(m.id) for m in (*bundle.facts, *bundle.procedures)]
    for entry, memory in zip(memories, (*bundle.facts, *bundle.procedures), strict=True):
        sources = sorted(map(str, memory.source_episode_ids))
        assert entry["provenance_hash"] == sha256(",".join(sources).encode()).hexdigest()
        assert entry["supersession_status"] == "active" and entry["sensitivity_labels"] == []
        assert isinstance(entry["score"], float)
    assert body["policy"]["mode"] == "log_only" and body["policy_snapshot"]["bundle_yaml"] is None
    assert body["request"]["max_tokens"] == 1000 and body["request"]["session_id"] == "s1"
    assert reading.verify(told.settings, row).reason == "ok"


def test_a_handoff_has_a_receipt_too(told: Services) -> None:
    record_resolution(told, TENANT, subject_id=SUBJECT, session_id="s1", status="open", summary="The export")
    handoff = hand_over(told, "s1")
    body = reading.body_of(receipt(told, handoff))
    assert body["task"] == "handoff:escalation:s1"
    assert body["output"]["context_hash"] == sha256(handoff.handoff_notes.encode()).hexdigest()
    assert {entry["type"] for entry in body["selected_entries"]} == {"memory", "episode"}
    assert all(entry["score"] is None for entry in body["selected_entries"])


def test_the_bytes_that_are_stored_are_the_canonical_form(told: Services) -> None:
    row = receipt(told, ask(told, TASK))
    assert canonical_bytes(json.loads(row.canonical)) == row.canonical
    assert chain_hash(reading.body_of(row)) == row.chain_hash.hex()


@pytest.mark.parametrize("key_id", ["h1", "e1"])
def test_keys_rotate_and_old_receipts_stay_verifiable(told: Services, key_id: str) -> None:
    configure(told, receipt_signing_key_id=key_id)
    row = receipt(told, ask(told, TASK))
    assert row.key_id == key_id
    configure(told, receipt_signing_key_id="h1" if key_id == "e1" else "e1")
    assert reading.verify(told.settings, row).valid is True
    forgotten = with_settings(told, receipt_signing_keys={}, receipt_ed25519_keys={})
    assert reading.verify(forgotten.settings, row).reason == "key_unavailable"


def test_a_key_that_is_missing_leaves_the_receipt_unsigned_and_says_so(told: Services) -> None:
    configure(told, receipt_signing_key_id="gone")
    with capture_logs() as logs:
        row = receipt(told, ask(told, TASK))
    assert "receipt_signing_key_unavailable" in {entry["event"] for entry in logs}
    body = reading.body_of(row)
    assert body["receipt_signature"] is None and "receipt_signature_key_id" not in body
    assert reading.verify(told.settings, row).reason == "no_signature"


def test_without_a_receipt_there_is_still_a_context(told: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise psycopg.errors.DiskFull("no space: 'I live in Lisbon'")

    ask(told, TASK)
    monkeypatch.setattr(chain_writer.receipts, "append_behind", fail)
    with capture_logs() as logs:
        bundle = ask(told, TASK)
    assert (bundle.receipt_id, bundle.receipt_emitted) == (None, False)
    assert "Lisbon" in bundle.assembled_context
    told_of = [entry for entry in logs if entry["event"] == "receipt_emission_failed"]
    assert len(told_of) == 1 and "Lisbon" not in str(told_of)


def test_a_connection_that_dies_of_the_receipt_costs_no_context(
    told: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(conn: Any, *_: Any) -> None:
        conn.close()
        raise psycopg.OperationalError("gone")

    ask(told, TASK)
    with monkeypatch.context() as patch:
        patch.setattr(chain_writer.receipts, "append_behind", die)
        bundle = ask(told, TASK)
    assert "Lisbon" in bundle.assembled_context and not bundle.receipt_emitted
    assert ask(told, TASK).receipt_emitted


def test_a_receipt_that_is_not_committed_is_not_promised(told: Services, dying_at: Killer) -> None:
    """Whatever statement the server dies at: a chain without a hole, and no receipt that nobody knows of twice."""
    ask(told, TASK)
    fatal, died = 1, True
    while died:
        statements_sent.set(0)
        died = False
        try:
            with dying_at(fatal):
                ask(told, TASK)
        except BaseException as ex:
            if isinstance(ex, (KeyboardInterrupt, SystemExit)):
                raise
            died = True
        fatal += 1
    with operator_transaction(told.pool) as conn:
        seqs = [row[0] for row in conn.execute("select chain_seq from receipts order by chain_seq").fetchall()]
    assert seqs == list(range(1, len(seqs) + 1))


def statements(work: Callable[[], Any]) -> int:
    statements_sent.set(0)
    work()
    return statements_sent.get()


def test_a_receipt_costs_one_round_trip(told: Services) -> None:
    ask(told, TASK)
    plain = statements(lambda: ask(told, TASK, emit=False))
    assert statements(lambda: ask(told, TASK)) == plain + 1, "it is a transaction of one message"
    # Begin, candidates, memories, episodes, commit: the tenant's configuration comes with the beginning.
    assert plain <= 5


def test_contexts_at_the_same_time_make_one_chain(told: Services) -> None:
    threads = [threading.Thread(target=lambda: [ask(told, TASK) for _ in range(4)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tenant_transaction(told.pool, TENANT) as conn:
        rows = conn.execute("select chain_seq, canonical, chain_hash from receipts order by chain_seq").fetchall()
    assert [row[0] for row in rows] == list(range(1, 17))
    previous = bytes(32)
    for _, canonical, own in rows:
        assert json.loads(canonical)["previous_hash"] == previous.hex()
        previous = own


def test_nobody_may_change_a_receipt(told: Services) -> None:
    ask(told, TASK)
    for statement in ("update receipts set mode = 'eval_run'", "delete from receipts", "truncate receipts cascade"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), tenant_transaction(told.pool, TENANT) as conn:
            conn.execute(statement)
        # Not even the owner of the table, for whom row-level security is lifted.
        with told.pool.connection() as conn, conn.transaction(force_rollback=True):
            conn.execute("alter table receipts no force row level security")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
