"""A subject's passages, column by column: what retrieval reads, and nothing else.

Rows stand in arrival order. Nothing in a row depends on another row: neighbours, sessions and document frequencies
are found when a request scores the columns, so appending passages never rewrites what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from config.deferred import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


T = TypeVar("T")

#: `valid_until` of what does not end.
NEVER = 2**63 - 1

#: A passage with more terms than this is indexed by its first ones.
MOST_TERMS = 2**16 - 1


class Kind(IntEnum):
    """What a passage was taken from. The numbers are stored."""

    TURN = 0
    PROFILE_FACT = 1
    PROCEDURE = 2
    EPISODE_SUMMARY = 3
    OTHER = 4


class Flag(IntFlag):
    """What is known about a passage's text. The bits are stored."""

    IS_QUESTION = 1
    HAS_TIME_EXPRESSION = 2
    FROM_USER = 4
    FROM_AGENT = 8
    #: A further piece of the message that the passage before it began.
    CONTINUES = 16


@dataclass(frozen=True)
class PassageColumns:
    """`n` passages; all arrays share the first axis except `terms`, which holds the terms of all, one after another."""

    source_id: NDArray[np.void]
    """UUID bytes ('V16') of the episode or memory."""
    kind: NDArray[np.uint8]
    """A `Kind`."""
    start: NDArray[np.int32]
    """First character in the source's text."""
    stop: NDArray[np.int32]
    """Character after the last one in the source's text."""
    session: NDArray[np.uint64]
    """Hash of the session; 0 for what has no neighbours (memories). An episode without session is its own."""
    occurred_at: NDArray[np.int64]
    """Microseconds since 1970, UTC."""
    valid_until: NDArray[np.int64]
    """Microseconds since 1970, UTC; `NEVER` if it does not end."""
    speaker: NDArray[np.uint32]
    """Hash of the normalised name or role; 0 when unknown."""
    flags: NDArray[np.uint8]
    """`Flag` bits."""
    tokens: NDArray[np.uint16]
    """What its rendered line costs, newline included."""
    term_counts: NDArray[np.uint16]
    """How many of `terms` are its own."""
    terms: NDArray[np.uint32]
    """Hashed stems."""
    scale: NDArray[np.float32]
    """Unit vector ≈ scale · vectors; 0 where there is no vector."""
    vectors: NDArray[np.int8]
    """(n, dimensions)."""

    def __len__(self) -> int:
        return len(self.kind)

    def derived(self, make: Callable[..., T], *parameters: Hashable) -> T:
        """`make(self, *parameters)`, worked out once: columns that are kept between requests (`storage.passage_cache`)
        keep it with them. What is derived must not be written to."""
        key = (make, *parameters)
        if key not in self._derived:
            self._derived[key] = make(self, *parameters)
        value: T = self._derived[key]
        return value

    @cached_property
    def _derived(self) -> dict[Any, Any]:
        return {}


def quantise(unit_vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Vectors as one signed byte a dimension and one scale a row; the cosine moves by less than 0.005."""
    peak = np.abs(unit_vectors).max(axis=1, initial=0.0)
    scale = (peak / 127.0).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1.0)[:, None]
    return scale, np.rint(unit_vectors / divisor).astype(np.int8)


def term_ends(columns: PassageColumns) -> NDArray[np.int64]:
    """Where the terms of each passage end. Ask for it with `columns.derived(term_ends)`."""
    return columns.term_counts.cumsum(dtype=np.int64)


def unit_rows(scale: NDArray[np.float32], vectors: NDArray[np.int8]) -> NDArray[np.float32]:
    """What `quantise` made small, as unit vectors again; rows of zeros stay what they are."""
    rows = vectors.astype(np.float32) * scale[:, None]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def take(columns: PassageColumns, rows: NDArray[np.intp]) -> PassageColumns:
    """The given rows, in the given order."""
    counts = columns.term_counts[rows].astype(np.int64)
    ends = columns.derived(term_ends)
    first = ends[rows] - counts
    offset_in_row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    values: dict[str, Any] = {
        field.name: getattr(columns, field.name)[rows] for field in fields(columns) if field.name != "terms"
    }
    return PassageColumns(**values, terms=columns.terms[np.repeat(first, counts) + offset_in_row])


def concatenate(parts: Sequence[PassageColumns]) -> PassageColumns:
    """Passages of one part after those of the other."""
    names = [field.name for field in fields(PassageColumns)]
    return PassageColumns(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
