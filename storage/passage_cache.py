"""Large subjects, kept decoded between requests.

A subject of a hundred thousand memories is 80 MB of passages, and reading them takes far longer than scoring them.
Blocks hardly ever change, and PostgreSQL names every version of a row (`xmin`, the transaction that wrote it): so a
request asks for the versions, which costs next to nothing, and reads only the blocks that it does not have in that
version. What it ranks is therefore always what is committed, and a change of one block costs one block.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from config.deferred import np
from storage.passage_columns import PassageColumns, concatenate

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Passages from which a subject is kept. Smaller ones are read about as fast as their versions are compared.
LARGE = 4096

#: Tenant, subject, model.
Key = tuple[str, str, str]

#: Version of a block's row in passage_blocks and in passage_vectors, by the block's number.
Versions = Mapping[int, tuple[str, str | None]]

#: Reads blocks by their numbers; those that are gone meanwhile are missing from what comes back.
Reader = Callable[[Sequence[int]], dict[int, PassageColumns]]


@dataclass(frozen=True, slots=True)
class _Kept:
    versions: dict[int, tuple[str, str | None]]
    #: Rows of each block, in the order of `versions`, which is that of the numbers.
    counts: list[int]
    columns: PassageColumns
    size: int


class PassageCache:
    """The most recently used large subjects of a process, up to so many bytes. Safe to share between threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._loading: dict[Key, threading.Lock] = {}

    def columns(self, key: Key, versions: Versions, read: Reader, *, nothing: PassageColumns) -> PassageColumns:
        """The subject's passages in these versions; blocks that are not here in them are read.

        Threads that want the same subject wait for the one that reads it.

        Args:
            nothing: No passages, of the subject's dimensions.
        """
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            kept = self._find(key)
            if kept is None or kept.versions != versions:
                kept = _refreshed(kept, versions, read, nothing)
                self._keep(key, kept)
        return kept.columns

    @property
    def kept_bytes(self) -> int:
        """What the subjects that are kept take."""
        return self._size

    def _find(self, key: Key) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def _keep(self, key: Key, kept: _Kept) -> None:
        with self._lock:
            former = self._kept.pop(key, None)
            self._size += kept.size - (former.size if former else 0)
            self._kept[key] = kept
            while self._size > self._most_bytes:
                forgotten, oldest = self._kept.popitem(last=False)
                self._size -= oldest.size
                self._loading.pop(forgotten, None)


def _refreshed(kept: _Kept | None, versions: Versions, read: Reader, nothing: PassageColumns) -> _Kept:
    known = dict(zip(kept.versions, _blocks(kept), strict=True)) if kept else {}
    missing = [block for block in versions if kept is None or kept.versions.get(block) != versions[block]]
    blocks = {block: known[block] for block in versions.keys() - missing} | read(missing)
    order = sorted(blocks)
    columns = concatenate([nothing, *(blocks[block] for block in order)])
    size = 0
    for field in fields(columns):
        array = getattr(columns, field.name)
        array.flags.writeable = False  # Every request of the process ranks the same arrays.
        size += array.nbytes
    return _Kept({block: versions[block] for block in order}, [len(blocks[block]) for block in order], columns, size)


def _blocks(kept: _Kept) -> list[PassageColumns]:
    """The blocks of what is kept, as views of its columns."""
    stops = np.cumsum(kept.counts).tolist()
    term_stops: NDArray[np.int64] = np.cumsum(kept.columns.term_counts, dtype=np.int64)
    blocks = []
    start = first_term = 0
    for stop in stops:
        last_term = int(term_stops[stop - 1]) if stop else 0
        blocks.append(_slice(kept.columns, slice(start, stop), slice(first_term, last_term)))
        start, first_term = stop, last_term
    return blocks


def _slice(columns: PassageColumns, rows: slice, terms: slice) -> PassageColumns:
    values = {field.name: getattr(columns, field.name)[rows] for field in fields(columns) if field.name != "terms"}
    return PassageColumns(**values, terms=columns.terms[terms])
