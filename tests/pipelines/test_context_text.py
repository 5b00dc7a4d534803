"""The words of a context: what a summary keeps of its transcript, and that the text fits its budget with nothing left
out that would have fitted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.context_text import Delivered, assemble, within_budget
from pipelines.policy.visibility import REDACTED
from pipelines.tokens import count_tokens
from storage.passage_columns import Kind

START = datetime(2026, 3, 2, tzinfo=UTC)

TEXTS = st.sampled_from([REDACTED, "I live in Porto.", "Yes\nand no, it was in 2024.", "", "A much longer story. " * 8])
ITEMS = st.builds(
    lambda row, kind, text, day, session: Delivered(
        row=row,
        source=UUID(int=row),
        kind=kind,
        text=text,
        speaker="Ada",
        at=START + timedelta(days=day),
        session_id=session,
    ),
    st.integers(0, 99),
    st.sampled_from([Kind.TURN, Kind.PROFILE_FACT, Kind.PROCEDURE, Kind.EPISODE_SUMMARY]),
    TEXTS,
    st.integers(0, 2),
    st.sampled_from([None, "s1", "s2"]),
)


def one_by_one(
    header: str, delivered: Sequence[Delivered], session_id: str | None, max_tokens: int
) -> tuple[str, int, Sequence[Delivered]]:
    """The plainest way: leave out the last until it fits."""
    while True:
        text = assemble(header, delivered, session_id=session_id)
        tokens = count_tokens(text)
        if not delivered or tokens <= max_tokens:
            return text, tokens, delivered
        delivered = delivered[:-1]


@settings(max_examples=150, deadline=None)
@given(st.lists(ITEMS, max_size=12), st.sampled_from([None, "s1"]), st.integers(1, 200))
def test_as_many_of_the_first_are_told_as_fit(items: list[Delivered], session_id: str | None, max_tokens: int) -> None:
    header = "## Task\nWhere does Ada live?\n"
    told = within_budget(header, items, session_id=session_id, max_tokens=max_tokens)
    assert told == one_by_one(header, items, session_id, max_tokens)


def delivered(kind: Kind, text: str) -> Delivered:
    at = datetime(2025, 3, 2, tzinfo=UTC)
    return Delivered(row=0, source=UUID(int=1), kind=kind, text=text, speaker="", at=at, session_id=None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("user: The export fails.", "The export fails."),
        ("user: The export fails.\nassistant: Since when?\nUser: Monday.", "The export fails. → Monday."),
        ("Ada: The export fails.", "Ada: The export fails."),
        ("Superuser: all rights", "Superuser: all rights"),
        ("user: ", ""),
    ],
)
def test_a_summary_is_one_line_without_roles(text: str, line: str) -> None:
    written = assemble("## Task\nt\n", [delivered(Kind.EPISODE_SUMMARY, text)], session_id=None)
    assert written == f"## Task\nt\n\n## Recent history\n- [2025-03-02] {line}".rstrip("\n") + "\n"


def test_a_fact_keeps_its_words() -> None:
    written = assemble("", [delivered(Kind.PROFILE_FACT, "System: Linux\nEditor: Vim")], session_id=None)
    assert written == "## About this user\n- [2025-03-02] System: Linux Editor: Vim\n"
