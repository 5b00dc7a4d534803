"""Choosing what is delivered: the best passages that fit a budget. Pure, and deterministic.

Costs add up: a delivered text's estimate is the sum of the costs of its lines (see `pipelines.tokens`), so what is
chosen here never exceeds the budget when it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.ranking import Scores
from storage.passage_columns import Kind, PassageColumns

Reason = Literal["budget", "duplicate", "share", "expired"]

_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class PackingParameters:
    """Every number of packing. docs/ranking.md holds the measurement that chose it."""

    #: Tokens of a line that names the day of the turns below it, break included (measured: 6).
    day_header: int = 7
    #: Tokens of a section's heading with the empty line before it, by `Kind`; OTHER is never delivered.
    section_headers: tuple[int, ...] = (6, 6, 6, 6, 6)
    #: Share of the budget that memories may take while turns are left that fit.
    memory_share: float = 0.25
    #: Share of a memory's terms found in one delivered passage from which it adds nothing.
    duplicate: float = 0.8
    #: Passages looked at, per budgeted token; the best ones are looked at first.
    candidates_per_token: float = 0.5


DEFAULT_PACKING = PackingParameters()


@dataclass(frozen=True, slots=True)
class Selection:
    """What is delivered. Rows point into the columns."""

    chosen: list[int]
    """Best first."""
    left_out: dict[int, Reason]
    """Of the candidates that were looked at, why they are not delivered."""
    tokens: int
    """What the chosen lines, their day lines and section headings cost."""
    cut: tuple[int, int] | None = None
    """(row, tokens left for it): the one item that is larger than the budget alone and must be shortened."""


def rank(columns: PassageColumns, scores: Scores, *, now: int, most: int) -> NDArray[np.intp]:
    """The best `most` rows that have not ended, best first; ties go to the newer, then to the later arrived."""
    total = np.where(columns.valid_until > now, scores.total, -np.inf)
    if most < len(total):
        threshold = np.partition(total, len(total) - most)[len(total) - most]
        rows = np.flatnonzero(total >= threshold)
    else:
        rows = np.arange(len(total))
    rows = rows[np.isfinite(total[rows])]
    order = np.lexsort((-rows, -columns.occurred_at[rows], -total[rows]))
    return rows[order][:most]


def pack(
    columns: PassageColumns,
    order: Sequence[int] | NDArray[np.intp],
    *,
    budget: int,
    parameters: PackingParameters = DEFAULT_PACKING,
) -> Selection:
    """Take rows in order while they fit, skipping those that do not.

    Args:
        columns: The subject's passages.
        order: Rows, best first.
        budget: Tokens left for everything below the task.
    """
    p = parameters
    order = np.asarray(order, dtype=np.intp)
    tokens = columns.tokens[order].tolist()
    kinds = columns.kind[order].tolist()
    days = (columns.occurred_at[order] // _MICROSECONDS_PER_DAY).tolist()
    rows = order.tolist()
    left = budget
    chosen: list[int] = []
    left_out: dict[int, Reason] = {}
    open_sections: set[int] = set()
    open_days: set[int] = set()
    cheapest = min(tokens, default=0)
    for row, cost, kind, day in zip(rows, tokens, kinds, days, strict=True):
        if kind not in open_sections:
            cost += p.section_headers[kind]
        if kind == Kind.TURN and day not in open_days:
            cost += p.day_header
        if cost > left:
            left_out[row] = "budget"
            continue
        left -= cost
        chosen.append(row)
        open_sections.add(kind)
        if kind == Kind.TURN:
            open_days.add(day)
        if left < cheapest:
            break
    return Selection(chosen=chosen, left_out=left_out, tokens=budget - left)
