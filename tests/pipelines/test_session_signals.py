"""What a session adds to the ranking: now before then, open before closed, what was tried, what returns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.passages import Passage, columns_of, memory_passage, split_episode
from pipelines.session_signals import EarlierResolution, SessionEnd, SessionSignals, session_signals
from storage.passage_columns import PassageColumns

START = datetime(2026, 3, 1, tzinfo=UTC)


def talk(*said: tuple[str, str, str]) -> PassageColumns:
    """Columns of (session, role, text) in this order."""
    passages: list[Passage] = []
    for minute, (session, role, text) in enumerate(said):
        passages += split_episode(
            {"text": text},
            episode_id=uuid4(),
            text=text,
            source=role,
            session_id=session,
            occurred_at=START + timedelta(minutes=minute),
        )
    return columns_of(passages, np.zeros((len(passages), 2), dtype=np.float32))


def end(session: str, status: str = "resolved", summary: str | None = None) -> SessionEnd:
    return SessionEnd(session, status, summary, uuid4(), START if status == "resolved" else None)


def ask(
    columns: PassageColumns, *ends: SessionEnd, session: str | None = None, task: str = "Help the customer"
) -> tuple[SessionSignals, list[EarlierResolution]]:
    return session_signals(columns, task=task, session_id=session, ends=ends)


LINE = "The quarterly export stops halfway through"


def test_without_a_session_or_a_record_of_one_only_the_words_count() -> None:
    signals, earlier = ask(talk(("a", "user", LINE), ("a", "agent", LINE), ("a", "user", "ok")))
    assert earlier == []
    assert signals.of(0) == signals.of(1) == {}
    assert signals.of(2) == {"chatter": -0.2}


def test_what_is_said_now_outranks_what_was() -> None:
    columns = talk(("then", "user", LINE), ("now", "user", LINE))
    total = ask(columns, session="now")[0].total()
    assert total[1] > total[0]


def test_an_open_issue_outranks_a_closed_one() -> None:
    columns = talk(("closed", "user", "My invoice is wrong"), ("none", "user", LINE), ("open", "user", LINE))
    total = ask(columns, end("closed"), end("open", "open"))[0].total()
    assert total[2] > total[1] > total[0]


def test_what_was_tried_is_kept_where_it_matters() -> None:
    columns = talk(
        ("now", "user", LINE),
        ("now", "agent", "I restarted the export worker"),
        ("old", "agent", "I restarted the mailer"),
    )
    signals, _ = ask(columns, session="now")
    assert [float(value) for value in signals.action_step] == pytest.approx([0, 0.2, 0])


def test_urgent_words_and_idle_chatter() -> None:
    signals, _ = ask(
        talk(("a", "user", "This is a critical blocker for us"), ("a", "user", "thanks"), ("a", "user", LINE))
    )
    assert [signals.of(row) for row in range(3)] == [{"urgency": 0.2}, {"chatter": -0.2}, {}]


def test_an_issue_that_returns_brings_its_earlier_resolution() -> None:
    columns = talk(
        ("march", "user", "I was charged twice on my invoice, please refund the duplicate charge"),
        ("april", "user", "The export of my report stops halfway"),
        ("may", "user", "There is a duplicate charge on my invoice again"),
    )
    fixed, other = end("march", summary="Duplicate charge refunded"), end("april", summary="Export limit raised")
    signals, earlier = ask(columns, other, fixed, session="may")
    assert [item.end.session_id for item in earlier] == ["march"]
    assert signals.of(0) == {"repeat_issue": 0.6}
    assert signals.of(1) == {"closed_issue": -0.5}
    assert signals.of(2) == {"current_session": 0.6}


def test_the_task_alone_can_name_the_issue() -> None:
    columns = talk(("march", "user", "Something entirely different was said"))
    _, earlier = ask(
        columns, end("march", summary="Duplicate charge refunded"), task="Customer asks about a duplicate charge"
    )
    assert [item.end.session_id for item in earlier] == ["march"]


def test_a_resolution_without_a_summary_counts_less() -> None:
    columns = talk(("march", "user", "duplicate charge on my invoice"))
    signals, _ = ask(columns, end("march"), task="duplicate charge on the invoice")
    assert signals.of(0) == {"repeat_issue": 0.4}


def test_one_word_in_common_is_not_the_same_issue() -> None:
    columns = talk(("march", "user", "invoice address postal code"), ("may", "user", "invoice charged twice refund"))
    assert ask(columns, end("march"), session="may")[1] == []


def test_a_session_is_not_its_own_predecessor() -> None:
    columns = talk(("now", "user", LINE))
    signals, earlier = ask(columns, end("now", summary=LINE), session="now")
    assert earlier == []
    assert signals.of(0) == {"current_session": 0.6}, "what is said now counts even after it was called resolved"


def test_memories_belong_to_no_session() -> None:
    memory = memory_passage(memory_id=uuid4(), kind="profile_fact", content="Ada lives in Porto", valid_from=START)
    columns = columns_of([memory], np.zeros((1, 2), dtype=np.float32))
    signals, _ = ask(columns, end("now", "open"), session="now")
    assert signals.of(0) == {}


sessions = st.sampled_from(["a", "b", "c"])
turns = st.lists(
    st.tuples(
        sessions, st.sampled_from(["user", "agent", "crm"]), st.sampled_from([LINE, "ok", "it is urgent", "invoice"])
    ),
    min_size=1,
    max_size=8,
)


@given(turns, sessions | st.none(), st.lists(st.tuples(sessions, st.sampled_from(["open", "resolved", "unresolved"]))))
def test_the_total_is_the_sum_of_what_is_explained(
    said: Sequence[tuple[str, str, str]], session: str | None, ended: Sequence[tuple[str, str]]
) -> None:
    columns = talk(*said)
    signals, _ = ask(columns, *(end(id, status) for id, status in ended), session=session)
    for row in range(len(columns)):
        assert float(signals.total()[row]) == pytest.approx(sum(signals.of(row).values()), abs=1e-4)
