"""The text of a context: sections, lines and headings. Every line's cost is known before it is chosen.

Interactions are delivered in the order in which they happened, below the day they happened on, so that an agent reads
them as the conversation they were.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

import msgspec

from pipelines.passages import day_line, memory_line, turn_line
from pipelines.speakers import without_roles
from pipelines.tokens import count_tokens
from storage.passage_columns import Kind

#: Sections in the contract's order.
SECTIONS = (
    (Kind.PROFILE_FACT, "## About this user"),
    (Kind.PROCEDURE, "## Procedures"),
    (Kind.EPISODE_SUMMARY, "## Recent history"),
)
INTERACTIONS = "## Recent interactions"
PREVIOUS = "### Previous interactions"
NOTHING_RELATED = "*Nothing that is stored about this subject relates to the task.*"

_SENTENCE_END = re.compile(r"[.!?…。!?][\"')\]]*\s")


class Delivered(msgspec.Struct, frozen=True):
    """One passage with its words, as it will be written."""

    row: int
    source: UUID
    kind: Kind
    text: str
    speaker: str
    at: datetime
    session_id: str | None


def task_header(task: str, max_tokens: int) -> str:
    """The opening of every context. A task that is larger than the whole budget is shortened to fit it."""
    header = f"## Task\n{task}\n"
    if count_tokens(header) <= max_tokens:
        return header
    for tokens in range(max_tokens, 0, -1):
        header = f"## Task\n{shorten(task, tokens)}\n"
        if count_tokens(header) <= max_tokens:
            return header
    return ""


def with_nothing_related(header: str, max_tokens: int) -> str:
    """The opening of a context for a task that nothing stored has to do with: it says so, if that still fits."""
    noted = f"{header}\n{NOTHING_RELATED}\n"
    return noted if count_tokens(noted) <= max_tokens else header


def session_header_cost(session_id: str | None) -> int:
    """Tokens of the two headings that part the current session from the others."""
    if session_id is None:
        return 0
    return count_tokens(f"{_current(session_id)}\n{PREVIOUS}\n")


def assemble(header: str, delivered: Sequence[Delivered], *, session_id: str | None) -> str:
    """Write the context."""
    lines = [header.rstrip("\n"), ""] if header else []
    by_kind: dict[Kind, list[Delivered]] = defaultdict(list)
    for item in delivered:
        by_kind[item.kind].append(item)
    for kind, heading in SECTIONS:
        if kind in by_kind:
            lines += [heading, *[memory_line(_one_line(item), item.at) for item in by_kind[kind]], ""]
    turns = sorted(by_kind[Kind.TURN], key=lambda item: (item.at, item.row))
    if turns:
        lines += [INTERACTIONS, *_interactions(turns, session_id), ""]
    return "\n".join(lines).rstrip("\n") + "\n" if lines else ""


def within_budget(
    header: str, delivered: Sequence[Delivered], *, session_id: str | None, max_tokens: int
) -> tuple[str, int, Sequence[Delivered]]:
    """The context of as many of the first items as fit, its tokens, and these items.

    Packing adds up costs line by line; should headings that it could not foresee (a day that stands under two sessions)
    or the notes behind what was packed exceed the budget after all, the least useful items go.
    """

    def first(count: int) -> tuple[str, int, Sequence[Delivered]]:
        text = assemble(header, delivered[:count], session_id=session_id)
        return text, count_tokens(text), delivered[:count]

    fitting = first(len(delivered))
    count, excess = len(delivered), fitting[1] - max_tokens
    while excess > 0 and count > 0:
        # Every item frees at least its own line, so all of these have to go, or one less with a heading.
        while excess > 0 and count > 0:
            count -= 1
            excess -= count_tokens(_line(delivered[count]) + "\n")
        fitting = first(count)
        excess = fitting[1] - max_tokens
    while count < len(delivered) and fitting[1] + count_tokens(_line(delivered[count]) + "\n") <= max_tokens:
        more = first(count + 1)
        if more[1] > max_tokens:
            break
        fitting, count = more, count + 1
    return fitting


def shorten(text: str, tokens: int) -> str:
    """As much of the beginning as costs at most so many tokens: whole sentences, or whole words where one is longer."""
    if count_tokens(text) <= tokens:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text)] or []
    best = _longest(text, ends, tokens)
    if best:
        return best
    return _longest(text, [match.end() for match in re.finditer(r"\S+", text)], tokens) or _longest(
        text, list(range(1, len(text))), tokens
    )


def _line(item: Delivered) -> str:
    if item.kind == Kind.TURN:
        return turn_line(item.text, item.speaker)
    return memory_line(_one_line(item), item.at)


def _one_line(item: Delivered) -> str:
    """A memory as one bullet; a summary without roles, and of several lines as its first and its last."""
    is_summary = item.kind == Kind.EPISODE_SUMMARY
    text = without_roles(item.text) if is_summary else item.text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{lines[0]} → {lines[-1]}" if is_summary and len(lines) > 1 else " ".join(lines)


def _longest(text: str, ends: Sequence[int], tokens: int) -> str:
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(text[: ends[middle - 1]].rstrip()) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[: ends[low - 1]].rstrip() if low else ""


def _interactions(turns: Sequence[Delivered], session_id: str | None) -> Iterable[str]:
    if session_id is None:
        yield from _by_day(turns)
        return
    current = [turn for turn in turns if turn.session_id == session_id]
    previous = [turn for turn in turns if turn.session_id != session_id]
    if current:
        yield _current(session_id)
        yield from _by_day(current)
    if previous:
        yield PREVIOUS
        yield from _by_day(previous)


def _by_day(turns: Sequence[Delivered]) -> Iterable[str]:
    for day, of_day in groupby(turns, key=lambda turn: turn.at.date()):
        yield day_line(day)
        for turn in of_day:
            yield turn_line(turn.text, turn.speaker)


def _current(session_id: str) -> str:
    return f"### Current session ({session_id})"
