"""Which passages stand next to each other: those of the same session, in the order of their arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatColumn = NDArray[np.float32]
Window = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Passages grouped by session. `place` is a passage's place in `order`; without interleaving both are None."""

    order: NDArray[np.intp] | None
    place: NDArray[np.intp] | None
    group: NDArray[np.intp]
    """Number of its session, of each place."""
    starts: NDArray[np.intp]
    """First place of each session."""

    def shifted(self, passages: NDArray[np.intp], distance: int) -> NDArray[np.intp]:
        """The passages `distance` further in the session of each given one; -1 where there is none."""
        here = passages if self.place is None else self.place[passages]
        there = here + distance
        ok = (there >= 0) & (there < len(self.group))
        ok[ok] = self.group[there[ok]] == self.group[here[ok]]
        found = there if self.order is None else self.order[np.where(ok, there, 0)]
        return np.where(ok, found, -1)

    def weighted_sum(self, values: FloatColumn, window: Window) -> FloatColumn:
        """Of each passage, the sum of its and its neighbours' values with the weights of their distances."""
        grouped = values if self.order is None else values[self.order]
        out = np.zeros(len(values), dtype=np.float32)
        for distance, weight in window:
            if distance == 0:
                out += np.float32(weight) * grouped
            elif 0 < distance < len(values):
                same = self.group[distance:] == self.group[:-distance]
                out[:-distance] += np.float32(weight) * grouped[distance:] * same
            elif 0 < -distance < len(values):
                same = self.group[-distance:] == self.group[:distance]
                out[-distance:] += np.float32(weight) * grouped[:distance] * same
        return out if self.place is None else out[self.place]

    def session_max(self, values: FloatColumn) -> FloatColumn:
        """Of each passage, the largest value in its session."""
        if len(values) == 0:
            return values
        grouped = values if self.order is None else values[self.order]
        out = np.maximum.reduceat(grouped, self.starts)[self.group]
        return out if self.place is None else out[self.place]


def neighbourhood(session: NDArray[np.uint64]) -> Neighbourhood:
    """Group passages by session; those of session 0 (memories) stand alone."""
    boundaries = np.ones(len(session), dtype=np.bool_)
    np.not_equal(session[1:], session[:-1], out=boundaries[1:])
    boundaries |= session == 0
    starts = np.flatnonzero(boundaries)
    heads = session[starts]
    heads = np.sort(heads[heads != 0])
    if not (heads[1:] == heads[:-1]).any():
        return Neighbourhood(None, None, np.cumsum(boundaries) - 1, starts)
    order = np.argsort(session, kind="stable")
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    grouped = session[order]
    np.not_equal(grouped[1:], grouped[:-1], out=boundaries[1:])
    boundaries[0] = True
    boundaries |= grouped == 0
    return Neighbourhood(order, place, np.cumsum(boundaries) - 1, np.flatnonzero(boundaries))
