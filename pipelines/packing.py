"""Choosing what is delivered: the best passages that fit a budget. Pure, and deterministic.

Costs add up: the estimate of a text is the sum of the estimates of its lines (`pipelines.tokens`), so what is chosen
here is within the budget when it is written.

Turns are the evidence, memories are drawn from them. So a memory that a delivered turn already tells waits until the
turns have had their chance, and memories together take a bounded share while turns are left that would fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from config.deferred import np
from pipelines.ranking import Scores
from storage.passage_columns import Kind, PassageColumns, term_ends

if TYPE_CHECKING:
    from numpy.typing import NDArray


Reason = Literal["budget", "duplicate", "share", "unrelated"]

#: PERF: an attribute of an enumeration costs a search through its class, and there are hundreds of candidates.
_TURN, _SUMMARY = int(Kind.TURN), int(Kind.EPISODE_SUMMARY)

_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class PackingParameters:
    """Every number of packing; docs/ranking.md holds the measurement that chose it."""

    #: Tokens of the line that names the day of the turns below it, line break included.
    day_line: int = 6
    #: Tokens of a section's heading and of the empty line that ends it.
    section: int = 5
    #: Share of the budget that memories may take before the turns have been packed.
    memory_share: float = 0.15
    #: Share of a memory's terms that delivered turns hold, from which it tells nothing new.
    told: float = 0.8
    #: Terms below which equal words are no repetition worth noticing ("Thanks!").
    least_terms: int = 3


DEFAULT_PACKING = PackingParameters()


@dataclass(frozen=True, slots=True)
class Selection:
    """What is delivered. Rows point into the columns."""

    chosen: list[int]
    """Best first."""
    left_out: dict[int, Reason]
    """Of the other candidates, why they are not delivered."""
    tokens: int
    """What the chosen lines, their day lines and section headings cost."""
    cut: tuple[int, int] | None = None
    """(row, tokens left for its line): the one item that is larger than the budget alone and must be shortened."""


def rank(columns: PassageColumns, scores: Scores, *, now: int, most: int) -> NDArray[np.intp]:
    """The best `most` rows that have not ended, best first; ties go to the newer, then to the later arrived."""
    total = np.where(columns.valid_until > now, scores.total, np.float32(-np.inf))
    n = len(total)
    if most <= 0 or n == 0:
        return np.zeros(0, dtype=np.intp)
    rows = np.flatnonzero(total >= np.partition(total, n - most)[n - most]) if most < n else np.arange(n)
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

    Returns:
        A selection that costs at most `budget`. It is empty only if `order` is, or if not even a shortened line fits.
    """
    rows = np.asarray(order, dtype=np.intp)
    packer = _Packer(columns, rows, budget, parameters)
    waiting = packer.take_best(rows.tolist())
    packer.drop_told_memories()
    packer.take_rest(waiting)
    return packer.selection(rows.tolist())


class _Packer:
    """What has been chosen so far, and what is left of the budget."""

    def __init__(
        self, columns: PassageColumns, rows: NDArray[np.intp], budget: int, parameters: PackingParameters
    ) -> None:
        self.p = parameters
        self.budget = budget
        self.left = budget
        self.share = int(budget * parameters.memory_share)
        self.chosen: dict[int, int] = {}
        self.left_out: dict[int, Reason] = {}
        self.sections: dict[int, int] = {}
        self.days: dict[int, int] = {}
        self.told_terms: set[int] | None = None
        listed = rows.tolist()
        self.cost = dict(zip(listed, columns.tokens[rows].tolist(), strict=True))
        self.kind = dict(zip(listed, columns.kind[rows].tolist(), strict=True))
        self.day = dict(zip(listed, (columns.occurred_at[rows] // _MICROSECONDS_PER_DAY).tolist(), strict=True))
        self.speaker = dict(zip(listed, columns.speaker[rows].tolist(), strict=True))
        self.terms = columns.terms
        stops = columns.derived(term_ends)[rows]
        self.stop = dict(zip(listed, stops.tolist(), strict=True))
        self.start = dict(zip(listed, (stops - columns.term_counts[rows]).tolist(), strict=True))
        self.seen: set[tuple[bytes, int, int]] = set()
        self.cheapest = min(self.cost.values(), default=0)

    def take_best(self, rows: list[int]) -> list[int]:
        """Turns and new memories, in order; what waits comes back."""
        waiting: list[int] = []
        for place, row in enumerate(rows):
            if self.left < self.cheapest:
                self.left_out.update(dict.fromkeys(rows[place:], "budget"))
                break
            if self.kind[row] == _TURN:
                self._take_turn(row)
            elif self.kind[row] == _SUMMARY or self._is_told(row):
                waiting.append(row)
            elif self._price(row) > self.share:
                self.left_out[row] = "share"
                waiting.append(row)
            elif self._add(row):
                self.share -= self.chosen[row]
        return waiting

    def drop_told_memories(self) -> None:
        """Give up memories whose turns have come after them, and let the next best turns have their place."""
        dropped = [row for row in self.chosen if self.kind[row] != _TURN and self._is_told(row)]
        if not dropped or "budget" not in self.left_out.values():
            return
        for row in dropped:
            self.left += self.chosen.pop(row)
            self.left_out[row] = "duplicate"
            self.sections[self.kind[row]] -= 1
            if not self.sections[self.kind[row]]:
                del self.sections[self.kind[row]]
                self.left += self.p.section
        for row in [row for row, reason in self.left_out.items() if reason == "budget"]:
            if self.kind[row] == _TURN and self._add(row):
                del self.left_out[row]

    def take_rest(self, waiting: list[int]) -> None:
        """With what is left: facts and procedures also if they repeat, summaries of what was not delivered."""
        for row in waiting:
            if self.kind[row] == _SUMMARY and self._is_told(row):
                self.left_out[row] = "duplicate"
            elif self._add(row):
                self.left_out.pop(row, None)

    def selection(self, rows: list[int]) -> Selection:
        """What was chosen of the candidates; the best one, to be shortened, when none fits."""
        chosen = [row for row in rows if row in self.chosen]
        if chosen or not rows:
            return Selection(chosen, self.left_out, self.budget - self.left)
        best = rows[0]
        room = self.budget - (self._price(best) - self.cost[best])
        if room < 1:
            return Selection([], self.left_out, 0)
        self.left_out.pop(best, None)
        return Selection([best], self.left_out, self.budget, cut=(best, room))

    def _take_turn(self, row: int) -> None:
        if self.stop[row] - self.start[row] >= self.p.least_terms:
            words = self.terms[self.start[row] : self.stop[row]].tobytes()
            key = words, self.speaker[row], self.day[row]
            if key in self.seen:
                self.left_out[row] = "duplicate"
                return
            self.seen.add(key)
        if self._add(row) and self.told_terms is not None:
            self.told_terms.update(self._list_of(row))

    def _add(self, row: int) -> bool:
        price = self._price(row)
        if price > self.left:
            self.left_out[row] = "budget"
            return False
        kind = self.kind[row]
        self.left -= price
        # The section's heading is given back when its last item goes; the line is what the item itself costs.
        self.chosen[row] = price if kind in self.sections else price - self.p.section
        self.sections[kind] = self.sections.get(kind, 0) + 1
        if kind == _TURN:
            self.days[self.day[row]] = row
        return True

    def _price(self, row: int) -> int:
        """Its line, and the headings that it opens."""
        price: int = self.cost[row]
        if self.kind[row] not in self.sections:
            price += self.p.section
        if self.kind[row] == _TURN and self.day[row] not in self.days:
            price += self.p.day_line
        return price

    def _is_told(self, row: int) -> bool:
        own = self._terms_of(row)
        if self.told_terms is None:
            self.told_terms = set()
            for turn in self.chosen:
                if self.kind[turn] == _TURN:
                    self.told_terms.update(self._list_of(turn))
        return bool(own) and len(own & self.told_terms) >= self.p.told * len(own)

    def _terms_of(self, row: int) -> set[int]:
        return set(self._list_of(row))

    def _list_of(self, row: int) -> list[int]:
        terms: list[int] = self.terms[self.start[row] : self.stop[row]].tolist()
        return terms
