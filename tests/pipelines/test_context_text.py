"""The text of a context never exceeds its budget, and nothing is left out that would have fitted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.context_text import Delivered, assemble, within_budget
from pipelines.policy.visibility import REDACTED
from pipelines.tokens import LineCosts, count_tokens
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


@given(st.lists(st.text(max_size=20), max_size=5))
def test_lines_that_are_counted_once_cost_what_they_cost(lines: list[str]) -> None:
    costs, text = LineCosts(), "\n".join(lines)
    assert costs.of(text) == costs.of(text) == count_tokens(text)
