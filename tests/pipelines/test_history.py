"""Context of other times: what was known then (`known_at`), and what was true then (`as_of`)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from config.clock import utcnow
from config.errors import ValidationFailed
from pipelines.context import ContextBundle
from pipelines.receipts.replay import replay
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from storage.transactions import tenant_transaction
from tests.pipelines.receipts.stories import START, SUBJECT, TENANT, ask, compile_all, receipt, tell

WHERE = "Where does she live?"


def facts(bundle: ContextBundle) -> set[str]:
    return {memory.content for memory in bundle.facts if memory.kind == "profile_fact"}


def on_day(number: int) -> datetime:
    return START + timedelta(days=number)


def test_what_was_known_then_is_what_was_delivered_then(services: Services) -> None:
    """At every point of a history, asked then and asked later for then."""
    moments: list[tuple[datetime, ContextBundle, str | None]] = []

    def look() -> None:
        for session in (None, "s1"):
            bundle = ask(services, WHERE, session_id=session, emit=False)
            moments.append((utcnow(), bundle, session))

    look()
    tell(services, "My name is Ada Moreau", "I live in Lisbon.")
    look()
    compile_all(services)
    look()
    record_resolution(services, TENANT, subject_id=SUBJECT, session_id="s1", status="open", summary="Her address")
    tell(services, "I moved: I live in Porto now.", session="s2", day=40)
    look()
    compile_all(services)
    look()
    record_resolution(services, TENANT, subject_id=SUBJECT, session_id="s1", status="resolved", summary="Her address")
    with tenant_transaction(services.pool, TENANT) as conn:
        conn.execute(
            "update memories set status = 'tombstoned', updated_at = clock_timestamp() where status = 'active'"
        )
    look()
    assert len({bundle.assembled_context for _, bundle, _ in moments}) > 4
    for moment, bundle, session in moments:
        again = ask(services, WHERE, session_id=session, known_at=moment, emit=False)
        assert again.assembled_context == bundle.assembled_context
        assert [memory.id for memory in again.facts] == [memory.id for memory in bundle.facts]


@pytest.fixture
def moved(services: Services) -> Services:
    tell(services, "My name is Ada Moreau", "I live in Lisbon.")
    compile_all(services)
    tell(services, "I live in Porto.", session="s2", day=40)
    compile_all(services)
    return services


def test_what_was_true_then_is_delivered_although_it_ended_since(moved: Services) -> None:
    assert facts(ask(moved, WHERE)) == {"My name is Ada Moreau", "I live in Porto"}
    then = ask(moved, WHERE, as_of=on_day(10))
    assert "I live in Lisbon" in facts(then) and "I live in Porto" not in facts(then)
    assert "Porto" not in then.assembled_context
    assert ask(moved, WHERE, as_of=on_day(-1)).facts == []
    assert facts(ask(moved, WHERE, as_of=on_day(50))) == facts(ask(moved, WHERE))


def test_both_times_together(services: Services) -> None:
    tell(services, "I live in Lisbon.")
    compile_all(services)
    before = utcnow()
    tell(services, "I live in Porto.", session="s2", day=40)
    compile_all(services)
    assert facts(ask(services, WHERE, as_of=on_day(50), known_at=before)) == {"I live in Lisbon"}
    assert facts(ask(services, WHERE, as_of=on_day(50))) == {"I live in Porto"}


def test_history_that_was_told_late_is_there_too(services: Services) -> None:
    """It was superseded before it was ever current, so nothing of the present holds it."""
    tell(services, "I live in Porto.", session="s2", day=40)
    compile_all(services)
    tell(services, "I live in Lisbon.")
    compile_all(services)
    assert "I live in Lisbon" not in facts(ask(services, WHERE))
    assert "I live in Lisbon" in facts(ask(services, WHERE, as_of=on_day(10)))


def test_what_was_resolved_later_had_not_ended(moved: Services) -> None:
    resolved = on_day(20)
    record_resolution(
        moved,
        TENANT,
        subject_id=SUBJECT,
        session_id="s1",
        status="resolved",
        summary="She lives in Lisbon: corrected where she lives",
        resolved_at=resolved,
    )
    task = "Where does she live? She lives in Lisbon; correct where she lives"
    assert "Earlier resolution" in ask(moved, task, as_of=on_day(30)).assembled_context
    assert "Earlier resolution" not in ask(moved, task, as_of=on_day(10)).assembled_context


def test_nobody_knows_what_will_be_known(moved: Services) -> None:
    with pytest.raises(ValidationFailed) as caught:
        ask(moved, WHERE, known_at=utcnow() + timedelta(minutes=1))
    assert caught.value.details is not None and caught.value.details[0]["loc"] == ["body", "known_at"]


@pytest.mark.parametrize("times", [{"as_of": 10}, {"as_of": 50}, {"known_at": 0}, {"as_of": 10, "known_at": 0}])
def test_receipts_of_other_times_are_replayed_as_well(moved: Services, times: dict[str, int]) -> None:
    now = utcnow()
    asked = {name: now if name == "known_at" else on_day(day) for name, day in times.items()}
    delivered = ask(moved, WHERE, **asked)
    tell(moved, "I live in Lyon.", session="s3", day=5)
    compile_all(moved)
    outcome = replay(moved, receipt(moved, delivered), memories="as_recorded")
    assert outcome.diff.context_hash.changed is False
