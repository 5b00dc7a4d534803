"""A brief: lines in sections, each with a use and a source, as many as fit a budget. Pure.

Lines are kept whole or dropped whole, the least useful first. Token estimates of lines add up exactly
(`pipelines.tokens`), so what is kept never exceeds the budget when it is joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.tokens import count_tokens


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a brief. `section` is its heading; lines without one open the brief."""

    section: str
    text: str
    rank: int
    """How useful it is: 0 is the last to be dropped."""
    sources: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: ids by kind, or what it was computed from."""


def keep_within(lines: Sequence[Line], *, budget: int) -> list[Line]:
    """The most useful lines up to the first that does not fit, in the order given.

    Nothing less useful takes the place of a line that is dropped. Only a line that no room would be enough for, being
    larger than the budget alone, is passed over.
    """
    # The last line has no break behind it.
    left = budget + 1
    kept: set[int] = set()
    opened: set[str] = set()
    for place in sorted(range(len(lines)), key=lambda place: (lines[place].rank, place)):
        line = lines[place]
        cost = count_tokens(line.text) + 1
        if line.section and line.section not in opened:
            # An empty line, and the heading with its break.
            cost += count_tokens(line.section) + 2
        if cost > budget + 1:
            continue
        if cost > left:
            break
        left -= cost
        kept.add(place)
        opened.add(line.section)
    return [lines[place] for place in sorted(kept)]


def render(lines: Sequence[Line]) -> tuple[str, list[dict[str, Any]]]:
    """The text, and for each line of content its number in the text (from 1), its section and its sources."""
    written: list[str] = []
    origins: list[dict[str, Any]] = []
    section = ""
    for line in lines:
        if line.section != section:
            written += ["", line.section]
            section = line.section
        written.append(line.text)
        origins.append({"line": len(written), "section": section.lstrip("# "), **line.sources})
    return "\n".join(written), origins
