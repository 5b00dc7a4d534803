"""Replaying receipts: the same bytes from the history, whatever became of the memories since."""

from __future__ import annotations

import pytest

from pipelines.receipts.reading import body_of
from pipelines.receipts.replay import Replayed, replay
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from storage.transactions import operator_transaction
from tests.pipelines.receipts.stories import (
    SUBJECT,
    TENANT,
    ask,
    compile_all,
    hand_over,
    receipt,
    tell,
)


def as_recorded(services: Services, delivered: object) -> Replayed:
    return replay(services, receipt(services, delivered), memories="as_recorded")  # type: ignore[arg-type]


def upheaval(services: Services) -> None:
    """Everything that can happen to what was delivered, but erasure."""
    tell(services, "I moved: I live in Porto now.", "My name is Ada Brennan.", session="s9", day=40)
    compile_all(services)
    with operator_transaction(services.pool) as conn:
        conn.execute(
            "update memories set sensitivity_labels = '{pii.address}', updated_at = now() where status = 'active'"
        )
        conn.execute(
            "update memories set valid_to = now() - interval '1 day', updated_at = now() where status = 'active'"
        )
    with operator_transaction(services.pool) as conn:
        conn.execute("update memories set status = 'tombstoned', updated_at = now() where valid_to < now()")
    record_resolution(
        services, TENANT, subject_id=SUBJECT, session_id="s1", status="resolved", summary="It was E-4012."
    )
    tell(services, "The export fails with error E-4012 again.", session="s10", day=41)
    tell(services, "Waiting words about the export.", session="s11", day=42)


QUESTIONS = ["Where does she live and what is her name?", "The export fails with E-4012", "Prepare the next message"]


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
        found = as_recorded(services, bundle)
        made = body_of(receipt(services, bundle))
        again = body_of(receipt_of(services, found))
        assert found.diff.context_hash.changed is False
        assert found.diff.context_hash.replay == made["output"]["context_hash"]
        assert again["selected_entries"] == made["selected_entries"]
        assert again["output"] == made["output"]
    current = replay(services, receipt(services, delivered[0]))
    assert current.diff.context_hash.changed is True


def receipt_of(services: Services, replayed: Replayed):  # type: ignore[no-untyped-def]
    from pipelines.receipts.reading import find

    assert replayed.replay_receipt_id is not None
    return find(services, TENANT, replayed.replay_receipt_id)


def test_a_handoff_is_replayed_as_a_handoff(services: Services) -> None:
    tell(services, "My name is Ada Moreau.", "I live in Lisbon.", "The PDF export fails: E-4012.")
    compile_all(services)
    tell(services, "> I cleared the cache.", session="s2", day=1)
    record_resolution(services, TENANT, subject_id=SUBJECT, session_id="s2", status="open", summary="The export")
    delivered = hand_over(services, "s1")
    upheaval(services)
    found = as_recorded(services, delivered)
    assert found.diff.context_hash.changed is False
    assert (
        body_of(receipt_of(services, found))["selected_entries"]
        == body_of(receipt(services, delivered))["selected_entries"]
    )
    assert replay(services, receipt(services, delivered)).diff.context_hash.changed is True
