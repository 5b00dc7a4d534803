"""Replaying receipts: the same bytes from the history, whatever became of the memories since."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.clock import utcnow
from config.errors import ValidationFailed
from config.settings import Settings
from pipelines.embedder_local import LocalEmbedder
from pipelines.erasure import erase_subject
from pipelines.policy.bundles import upload
from pipelines.principal import ANONYMOUS
from pipelines.receipts.reading import body_of, find
from pipelines.receipts.replay import ReplayOutcome, replay
from pipelines.services import Services, no_other_models
from pipelines.support.resolutions import record_resolution
from storage.transactions import Pool, operator_transaction, tenant_transaction
from tests.pipelines.receipts.stories import (
    START,
    SUBJECT,
    TENANT,
    ask,
    compile_all,
    configure,
    hand_over,
    receipt,
    tell,
)

QUESTIONS = ["Where does she live and what is her name?", "The export fails with E-4012", "Prepare the next message"]


def as_recorded(services: Services, delivered: Any, tenant: str = TENANT) -> ReplayOutcome:
    return replay(services, receipt(services, delivered, tenant), memories="as_recorded")


def of_replay(services: Services, outcome: ReplayOutcome) -> dict[str, Any]:
    assert outcome.replay_receipt_id is not None
    return body_of(find(services, TENANT, outcome.replay_receipt_id))


def change_memories(services: Services, what: str, tenant: str = TENANT) -> None:
    with tenant_transaction(services.pool, tenant) as conn:
        conn.execute(f"update memories set {what}, updated_at = now() where status = 'active'")  # type: ignore[arg-type]


def upheaval(services: Services) -> None:
    """Everything that can happen to what was delivered, but erasure."""
    tell(services, "I moved: I live in Porto now.", "My name is Ada Brennan.", session="s9", day=40)
    compile_all(services)
    change_memories(services, "sensitivity_labels = '{pii.address}'")
    change_memories(services, "valid_to = now() - interval '1 day'")
    change_memories(services, "status = 'tombstoned'")
    record_resolution(
        services, TENANT, subject_id=SUBJECT, session_id="s1", status="resolved", summary="It was E-4012."
    )
    tell(services, "The export fails with error E-4012 again.", session="s10", day=41)
    compile_all(services)
    tell(services, "Waiting words about the export.", session="s11", day=42)


@pytest.fixture
def known(services: Services) -> Services:
    tell(services, "My name is Ada Moreau.", "I live in Lisbon.", "> Thank you, Ada.", "The PDF export fails: E-4012.")
    compile_all(services)
    return services


@pytest.mark.parametrize("state", ["waiting", "compiled", "both"])
@pytest.mark.parametrize("session", [None, "s2"])
def test_a_replay_of_what_was_recorded_is_the_same_byte_for_byte(
    services: Services, state: str, session: str | None
) -> None:
    tell(services, "My name is Ada Moreau.", "I live in Lisbon.", "> Thank you, Ada.", "The PDF export fails: E-4012.")
    if state != "waiting":
        compile_all(services)
    if state != "compiled":
        tell(services, "I prefer answers in French.", "When is the next release?", session="s2", day=3)
    record_resolution(services, TENANT, subject_id=SUBJECT, session_id="s0", status="open", summary="Export E-4012")
    delivered = [ask(services, question, session_id=session) for question in QUESTIONS]
    upheaval(services)
    for bundle in delivered:
        made = body_of(receipt(services, bundle))
        outcome = as_recorded(services, bundle)
        again = of_replay(services, outcome)
        assert outcome.diff.context_hash.changed is False
        assert outcome.diff.context_hash.replay == made["output"]["context_hash"]
        assert again["output"] == made["output"]
        assert again["selected_entries"] == made["selected_entries"]
        assert (again["mode"], again["parent_receipt_id"]) == ("as_of_replay", bundle.receipt_id)
    assert replay(services, receipt(services, delivered[0])).diff.context_hash.changed is True


def test_a_handoff_is_replayed_as_a_handoff(known: Services) -> None:
    tell(known, "> I cleared the cache.", session="s2", day=1)
    record_resolution(known, TENANT, subject_id=SUBJECT, session_id="s2", status="open", summary="The export")
    delivered = hand_over(known, "s1")
    upheaval(known)
    outcome = as_recorded(known, delivered)
    made = body_of(receipt(known, delivered))
    assert outcome.diff.context_hash.changed is False
    assert of_replay(known, outcome)["selected_entries"] == made["selected_entries"]
    assert of_replay(known, outcome)["task"] == "handoff:escalation:s1"
    assert replay(known, receipt(known, delivered)).diff.context_hash.changed is True


def test_before_anything_was_stored_there_was_nothing(services: Services) -> None:
    asked, handed = ask(services, QUESTIONS[0]), hand_over(services, "s1")
    tell(services, "I live in Lisbon.")
    compile_all(services)
    assert as_recorded(services, asked).diff.context_hash.changed is False
    assert as_recorded(services, handed).diff.context_hash.changed is False


def test_with_the_memories_of_now_the_difference_is_told(known: Services) -> None:
    delivered = ask(known, QUESTIONS[0])
    same = replay(known, receipt(known, delivered))
    assert same.diff.context_hash.changed is False
    assert same.diff.selected_entries["added"] == same.diff.selected_entries["removed"] == []
    assert same.diff.selected_entries["common"] == len(body_of(receipt(known, delivered))["selected_entries"])
    upheaval(known)
    other = replay(known, receipt(known, delivered))
    assert other.diff.context_hash.changed is True
    assert other.diff.selected_entries["added"] and other.diff.selected_entries["removed"]
    assert other.diff.filters_applied == {"added": [], "removed": []}


def test_replaying_does_not_touch_the_receipt(known: Services) -> None:
    row = receipt(known, ask(known, QUESTIONS[0]))
    replay(known, row)
    replay(known, row, memories="as_recorded")
    assert find(known, TENANT, row.receipt_id) == row


def test_a_tenant_that_writes_no_receipts_gets_no_receipt_of_a_replay(known: Services) -> None:
    delivered = ask(known, QUESTIONS[0])
    configure(known, receipts="never")
    outcome = replay(known, receipt(known, delivered))
    # The contract's answer: without a receipt there is nothing to compare with.
    assert outcome.replay_receipt_id is None and outcome.diff.context_hash.replay is None
    assert outcome.diff.context_hash.changed is True and outcome.diff.selected_entries["common"] == 0
    exact = as_recorded(known, delivered)
    assert exact.replay_receipt_id is None and exact.diff.context_hash.changed is False


POLICY = """
version: 1
rules:
  - id: addresses
    when: {memory_has_any_label: [pii.address], caller_type_not_in: [admin]}
    action: deny
  - id: names
    when: {memory_has_any_label: [pii.name]}
    action: redact
"""


@pytest.mark.parametrize("mode", ["log_only", "enforce"])
def test_the_policy_of_then_decides_by_the_labels_of_then(known: Services, mode: str) -> None:
    """Whatever was labelled, uploaded and configured since."""
    configure(known, policy_mode=mode)
    upload(known, TENANT, POLICY, activate=True, principal=ANONYMOUS)
    with tenant_transaction(known.pool, TENANT) as conn:
        conn.execute("update memories set sensitivity_labels = '{pii.address}' where content like '%Lisbon%'")
    delivered = [ask(known, QUESTIONS[0], caller_type=caller) for caller in (None, "admin")]
    handed = hand_over(known, "s1")
    assert ("Lisbon" in delivered[0].assembled_context) is (mode == "log_only")
    assert "Lisbon" in delivered[1].assembled_context
    change_memories(known, "sensitivity_labels = '{pii.name}'")
    configure(known, policy_mode="enforce" if mode == "log_only" else "log_only")
    upload(known, TENANT, "version: 1\nrules: []", activate=True, principal=ANONYMOUS)
    upheaval(known)
    for answer in (*delivered, handed):
        outcome = as_recorded(known, answer)
        made, again = body_of(receipt(known, answer)), of_replay(known, outcome)
        assert outcome.diff.context_hash.changed is False
        assert outcome.diff.filters_applied == {"added": [], "removed": []}
        for key in ("selected_entries", "policy"):
            assert again[key] == made[key]
        assert made["policy"]["mode"] == mode
    fired = body_of(receipt(known, delivered[0]))["policy"]["filters_applied"]
    assert {item["rule_id"] for item in fired} == {"addresses"}


def test_what_was_known_then_is_shown_by_the_labels_of_now(known: Services) -> None:
    """Looking back is no way around a policy."""
    before = utcnow()
    configure(known, policy_mode="enforce")
    upload(known, TENANT, POLICY, activate=True, principal=ANONYMOUS)
    change_memories(known, "sensitivity_labels = '{pii.address}'")
    for times in ({"known_at": before}, {"as_of": START + timedelta(days=1)}, {}):
        assert "Lisbon" not in ask(known, QUESTIONS[0], **times).assembled_context


def refused(services: Services, row: Any, memories: Any = "as_recorded") -> str:
    with pytest.raises(ValidationFailed) as caught:
        replay(services, row, memories=memories)
    return caught.value.code


def test_a_replay_is_not_replayed(known: Services) -> None:
    outcome = replay(known, receipt(known, ask(known, QUESTIONS[0])))
    assert outcome.replay_receipt_id is not None
    nested = find(known, TENANT, outcome.replay_receipt_id)
    assert refused(known, nested, "current") == "unreplayable.nested_replay"


def test_after_erasure_it_is_refused_with_the_reason(known: Services) -> None:
    row = receipt(known, ask(known, QUESTIONS[0]))
    with tenant_transaction(known.pool, TENANT) as conn:
        conn.execute("delete from memories where content like '%Lisbon%'")
    assert refused(known, row) == "unreplayable.content_erased"
    later = receipt(known, ask(known, QUESTIONS[0]))
    assert replay(known, later, memories="as_recorded").diff.context_hash.changed is False
    erase_subject(known, TENANT, SUBJECT)
    assert refused(known, row) == "unreplayable.subject_erased"
    tell(known, "Another Ada altogether.")
    assert refused(known, row) == "unreplayable.subject_erased"
    assert replay(known, row).diff.context_hash.changed is True


def test_another_embedding_model_cannot_rank_the_same(known: Services) -> None:
    row = receipt(known, ask(known, QUESTIONS[0]))

    other = LocalEmbedder(model="other")
    assert (
        refused(dataclasses.replace(known, embedder=other, open_model=no_other_models), row)
        == "unreplayable.model_unavailable"
    )


def test_what_was_ranked_must_be_what_is_stored(known: Services) -> None:
    row = receipt(known, ask(known, QUESTIONS[0]))
    with operator_transaction(known.pool) as conn:
        conn.execute("update passage_vectors set scales = decode(repeat('00', length(scales)), 'hex')")
    assert refused(known, row) == "unreplayable.candidates_differ"


def test_it_does_not_depend_on_the_clocks_of_the_machines(known: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is an hour behind supersedes a memory after the receipt, by a time before it."""
    delivered = ask(known, QUESTIONS[0])
    with tenant_transaction(known.pool, TENANT) as conn:
        conn.execute(
            "update memories set status = 'tombstoned', updated_at = now() - interval '1 hour' where status = 'active'"
        )
    assert as_recorded(known, delivered).diff.context_hash.changed is False


def test_a_publication_that_was_under_way_is_not_in_it(known: Services) -> None:
    """It began before the receipt and was committed after it: nobody saw it, whatever its timestamps say."""
    with psycopg.connect(known.settings.database_url or "", autocommit=True) as other:
        other.execute("begin; set local role statewave_app; set local app.tenant_id = 'acme'")
        other.execute("update memories set status = 'superseded', updated_at = now()")
        delivered = ask(known, QUESTIONS[0])
        other.execute("commit")
    outcome = as_recorded(known, delivered)
    assert outcome.diff.context_hash.changed is False
    made = body_of(receipt(known, delivered))["selected_entries"]
    assert of_replay(known, outcome)["selected_entries"] == made


SENTENCES = st.sampled_from(
    [
        *(
            "I live in Lisbon.",
            "I live in Porto.",
            "I live in Lyon.",
            "My name is Ada Moreau.",
            "My name is Ada Brennan.",
        ),
        *("I prefer tea.", "I do not like tea any more.", "The export fails with E-4012.", "> I cleared the cache."),
        *("Please call me in the morning.", "When was the last release?", "Bob: hello, Bob here.", "My dog is Rex."),
    ]
)
STEPS = st.one_of(
    st.tuples(st.just("tell"), st.lists(SENTENCES, min_size=1, max_size=4)),
    st.tuples(st.just("compile"), st.none()),
    st.tuples(st.just("resolve"), st.sampled_from(["open", "resolved", "unresolved"])),
    st.tuples(
        st.just("change"),
        st.sampled_from(
            [
                "sensitivity_labels = sensitivity_labels || '{secret}'",
                "sensitivity_labels = '{pii.address}'",
                "valid_to = now() - interval '1 day'",
                "valid_to = now() + interval '1 day'",
                "status = 'tombstoned'",
            ]
        ),
    ),
    st.tuples(st.just("ask"), st.sampled_from(QUESTIONS)),
    st.tuples(st.just("hand over"), st.none()),
)

_tenants = iter(range(10_000))


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(STEPS, min_size=3, max_size=14), data=st.data())
def test_whatever_happened_since_every_receipt_is_replayed_the_same(
    shared_pool: Pool, shared_database: str, steps: list[tuple[str, Any]], data: st.DataObject
) -> None:
    tenant = f"history-{next(_tenants)}"
    services = Services(Settings(database_url=shared_database), shared_pool, _embedder(), lambda: None)
    configure(services, tenant, policy_mode=data.draw(st.sampled_from(["log_only", "enforce"])))
    upload(services, tenant, POLICY.replace("pii.name", "secret"), activate=True, principal=ANONYMOUS)
    delivered: list[Any] = []
    for day, (step, what) in enumerate(steps):
        session = f"s{data.draw(st.integers(0, 2))}"
        if step == "tell":
            tell(services, *what, session=session, day=day, tenant=tenant)
        elif step == "compile":
            compile_all(services, tenant)
        elif step == "resolve":
            record_resolution(services, tenant, subject_id=SUBJECT, session_id=session, status=what, summary="Export")
        elif step == "change":
            change_memories(services, what, tenant)
        elif step == "ask":
            delivered.append(ask(services, what, tenant=tenant, session_id=data.draw(st.sampled_from([None, session]))))
        else:
            delivered.append(hand_over(services, session, tenant=tenant))
    for answer in delivered:
        outcome = as_recorded(services, answer, tenant)
        assert outcome.diff.context_hash.changed is False
        assert outcome.diff.selected_entries["added"] == outcome.diff.selected_entries["removed"] == []


_embedders: list[LocalEmbedder] = []


def _embedder() -> LocalEmbedder:
    if not _embedders:
        _embedders.append(LocalEmbedder())
    return _embedders[0]
