"""Reading a task: whom it names, when, and what is left to look for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dates_named import dates_named
from pipelines.query import Query, parse_task
from pipelines.speakers import speaker_hash
from pipelines.terms import term_list

NOW = datetime(2026, 5, 20, 15, tzinfo=UTC)  # a Wednesday


def read(task: str, *speakers: str) -> Query:
    return parse_task(task, speakers=speakers, now=NOW)


def test_a_speaker_is_a_signal_and_no_term() -> None:
    query = read("When did Ada's sister visit Ben?", "Ben", "Ada")
    assert query.speakers == (speaker_hash("Ada"), speaker_hash("Ben"))
    assert query.text == "When did sister visit?"
    assert sorted(query.terms.tolist()) == sorted(term_list("sister visit"))


def test_a_number_names_nobody() -> None:
    query = read("What became of order 47?", "Agent 47")
    assert query.speakers == () and set(term_list("47")) <= set(query.terms.tolist())
    assert read("What did Agent 47 say?", "Agent 47").speakers == (speaker_hash("Agent 47"),)


def test_capitalised_words_are_terms_but_not_embedded_where_no_speaker_is_named() -> None:
    query = read("When did Ada pay invoice INV-7? I forgot.", "Ben")
    assert query.text == "When did pay invoice I forgot."
    assert set(term_list("Ada INV-7")) < set(query.terms.tolist())
    assert read("Porto", "Ben").text == "Porto"


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("what will Will say", True),
        ("what did smith say", True),
        ("what will they say about May", False),
        ("what did will say", False),
        ("What will happen?", False),
        ("Has Will Smith called?", True),
    ],
)
def test_a_name_is_told_from_a_word_by_its_capital(task: str, named: bool) -> None:
    assert (read(task, "Will Smith").speakers != ()) is named


@pytest.mark.parametrize(
    ("task", "asks_when"),
    [
        ("When did the outage start?", True),
        ("What year did she graduate?", True),
        ("Which month was it?", True),
        ("How long has he lived there?", True),
        ("Tell me when it was delivered", False),
        ("What does he do when it rains?", False),
        ("What happened?", False),
    ],
)
def test_it_knows_when_a_time_is_asked_for(task: str, asks_when: bool) -> None:
    assert read(task).asks_when is asks_when


def days(task: str) -> list[tuple[str, str]]:
    """The best window of each date named, as first and last day."""
    return [
        (_day(best.start), _day(best.stop - 1))
        for date in dates_named(task, now=NOW)
        for best in [max(date.windows(range(2026, 2027)), key=lambda window: window.weight)]
    ]


def _day(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).date().isoformat()


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("What happened on 5 May 2023?", [("2023-05-05", "2023-05-06")]),
        ("What happened on May 5th, 2023?", [("2023-05-05", "2023-05-06")]),
        ("the call of 2023-05-05", [("2023-05-05", "2023-05-06")]),
        ("Where was she in March?", [("2026-03-01", "2026-03-31")]),
        ("Where was she in Dec 2024?", [("2024-12-01", "2024-12-31")]),
        ("What may they do in 2021?", [("2021-01-01", "2021-12-31")]),
        ("What did I say yesterday?", [("2026-05-19", "2026-05-19")]),
        ("the incident of last week", [("2026-05-11", "2026-05-17")]),
        ("what we agreed last month", [("2026-04-01", "2026-04-30")]),
        ("the order from last Friday", [("2026-05-15", "2026-05-15")]),
        ("the refund two weeks ago", [("2026-05-03", "2026-05-09")]),
        ("a trip last year", [("2025-01-01", "2025-12-31")]),
        ("last March", [("2026-03-01", "2026-03-31")]),
        ("What might he do, may I ask?", []),
        ("30 February", []),
    ],
)
def test_dates_become_windows(task: str, expected: list[tuple[str, str]]) -> None:
    if task == "30 February":
        # There is no such day: only the month counts.
        assert all(
            window.weight < 0.5 for date in dates_named(task, now=NOW) for window in date.windows(range(2026, 2027))
        )
    else:
        assert days(task) == expected


@given(st.text(max_size=300), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_is_a_task(task: str, speakers: list[str]) -> None:
    query = read(task, *speakers)
    assert len(set(query.terms.tolist())) == len(query.terms)
    windows = [window for date in query.dates for window in date.windows(range(2020, 2022))]
    assert all(window.start < window.stop and 0 < window.weight <= 1 for window in windows)
