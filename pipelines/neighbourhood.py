"""Which passages stand next to each other: those of the same session, in the order of their arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from config.deferred import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


FloatColumn: TypeAlias = "NDArray[np.float32]"
#: Weights by distance in the session; 0 is the passage itself, negative distances lie before it.
Window = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Passages grouped by session, so that neighbours stand at neighbouring places.

    Where sessions do not interleave, the place of a passage is its row, and `order` and `place` are None.
    """

    order: NDArray[np.intp] | None
    """Row of each place."""
    place: NDArray[np.intp] | None
    """Place of each row."""
    group: NDArray[np.intp]
    """Number of its session, of each place."""
    starts: NDArray[np.intp]
    """First place of each session."""

    def spread(
        self, passages: NDArray[np.intp], window: Window
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Of what occurs in passages, everything it reaches: (index into `passages`, passage reached, weight).

        An occurrence reaches the passages of whose window it is part: itself, and its neighbours with the weight that
        they give to its distance.
        """
        distances = np.array([distance for distance, _ in window])[:, None]
        weights = np.array([weight for _, weight in window])
        here = passages if self.place is None else self.place[passages]
        there = here - distances
        np.clip(there, 0, len(self.group) - 1, out=there)
        reached = (self.group[there] == self.group[here]) & (there == here - distances)
        which, occurrence = np.nonzero(reached)
        places = there[which, occurrence]
        return occurrence, places if self.order is None else self.order[places], weights[which]

    def weighted_sum(self, values: FloatColumn, window: Window) -> FloatColumn:
        """Of each passage, the sum of its and its neighbours' values with the weights of their distances."""
        grouped = values if self.order is None else values[self.order]
        out = np.zeros(len(values), dtype=np.float32)
        for distance, weight in window:
            apart = abs(distance)
            if apart == 0:
                out += np.float32(weight) * grouped
            elif apart < len(values):
                same = self.group[apart:] == self.group[:-apart]
                if distance > 0:
                    out[:-apart] += np.float32(weight) * grouped[apart:] * same
                else:
                    out[apart:] += np.float32(weight) * grouped[:-apart] * same
        return out if self.place is None else out[self.place]

    def session_max(self, values: FloatColumn) -> FloatColumn:
        """Of each passage, the largest value in its session."""
        if len(values) == 0:
            return values
        grouped = values if self.order is None else values[self.order]
        out: FloatColumn = np.maximum.reduceat(grouped, self.starts)[self.group]
        return out if self.place is None else out[self.place]


def neighbourhood(session: NDArray[np.uint64]) -> Neighbourhood:
    """Group passages by session; those of session 0 (memories) stand alone."""
    boundaries = _boundaries(session)
    starts = np.flatnonzero(boundaries)
    heads = np.sort(session[starts])
    if not ((heads[1:] == heads[:-1]) & (heads[1:] != 0)).any():
        return Neighbourhood(None, None, np.cumsum(boundaries) - 1, starts)
    order = np.argsort(session, kind="stable")
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    boundaries = _boundaries(session[order])
    return Neighbourhood(order, place, np.cumsum(boundaries) - 1, np.flatnonzero(boundaries))


def _boundaries(session: NDArray[np.uint64]) -> NDArray[np.bool_]:
    boundaries = np.ones(len(session), dtype=np.bool_)
    np.not_equal(session[1:], session[:-1], out=boundaries[1:])
    boundaries |= session == 0
    return boundaries
