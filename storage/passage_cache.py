"""Subjects, kept decoded between requests.

A subject of a hundred thousand memories is 80 MB of passages, and reading them takes far longer than scoring them; of
a small one, reading takes as long as scoring. Blocks hardly ever change, and PostgreSQL names every version of a row
(`xmin`, the transaction that wrote it): so a request asks for the versions, which costs next to nothing, and reads only
the blocks that it does not have in that version. What it ranks is therefore always what is committed, and a change of
one block costs one block.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from config.deferred import np
from storage.passage_columns import PassageColumns, concatenate

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Seconds after which a subject that nobody asks for is let go.
IDLE_SECONDS = 600.0

#: Bytes up to which a subject is a small one, and the share of the bytes that those may take besides: some hundreds.
SMALL_BYTES = 2**20
SMALL_SHARE = 1 / 6

#: Bytes of a passage besides its columns: what ranking derives from them (`PassageColumns.derived`).
_DERIVED_BYTES = 48

#: Bytes of the objects of one subject.
_OBJECT_BYTES = 4096

#: Tenant, subject, model.
Key = tuple[str, str, str]

#: Reads blocks by their numbers; those that are gone meanwhile are missing from what comes back.
Reader = Callable[[Sequence[int]], dict[int, PassageColumns]]

#: Makes columns without rows, of the subject's dimensions.
Nothing = Callable[[], PassageColumns]


@dataclass(slots=True)
class Kept:
    """A subject in one version of each of its blocks."""

    #: As the database gives them: number and versions of each block, in the order of their numbers.
    versions: str
    #: Rows of each block, in the same order.
    counts: list[int]
    columns: PassageColumns
    size: int
    used_at: float


class PassageCache:
    """The most recently used subjects of a process, up to so many bytes. Safe to share between threads.

    Small subjects have a place of their own, or the many would leave the process as large as the few make it.
    """

    def __init__(self, most_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._large = _Shelf(most_bytes)
        self._small = _Shelf(int(most_bytes * SMALL_SHARE))
        self._clock = clock
        self._lock = threading.Lock()
        self._loading: dict[Key, threading.Lock] = {}

    def columns(self, key: Key, versions: str, read: Reader, *, nothing: Nothing) -> PassageColumns:
        """The subject's passages in these versions; blocks that are not here in them are read.

        Threads that want the same subject wait for the one that reads it.
        """
        kept = self._find(key)
        if kept is not None and kept.versions == versions:
            return kept.columns
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            kept = self._find(key)
            if kept is None or kept.versions != versions:
                kept = refreshed(kept, versions, read, nothing)
                self._keep(key, kept)
        return kept.columns

    @property
    def kept_bytes(self) -> int:
        """What the subjects that are kept take."""
        return self._large.size + self._small.size

    def _find(self, key: Key) -> Kept | None:
        with self._lock:
            return self._small.find(key, self._clock()) or self._large.find(key, self._clock())

    def _keep(self, key: Key, kept: Kept) -> None:
        with self._lock:
            self._small.drop(key)
            self._large.drop(key)
            now = self._clock()
            (self._large if kept.size > SMALL_BYTES else self._small).keep(key, kept, now)
            for shelf in (self._small, self._large):
                for forgotten in shelf.let_go(now - IDLE_SECONDS):
                    self._loading.pop(forgotten, None)


class _Shelf:
    """Subjects in the order of their last use, up to so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.size = 0
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    def find(self, key: Key, now: float) -> Kept | None:
        kept = self._kept.get(key)
        if kept is not None:
            kept.used_at = now
            self._kept.move_to_end(key)
        return kept

    def keep(self, key: Key, kept: Kept, now: float) -> None:
        kept.used_at = now
        self._kept[key] = kept
        self.size += kept.size

    def drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept.size

    def let_go(self, not_used_since: float) -> list[Key]:
        """Forget what is too old, and the oldest until the rest fits."""
        forgotten = []
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if self.size <= self._most_bytes and oldest.used_at > not_used_since:
                break
            self.drop(key)
            forgotten.append(key)
        return forgotten


def refreshed(kept: Kept | None, versions: str, read: Reader, nothing: Nothing) -> Kept:
    """The subject in these versions, with as much as possible of what is kept in others."""
    wanted = _by_block(versions)
    had = _by_block(kept.versions) if kept else {}
    known = dict(zip(had, _blocks(kept), strict=True)) if kept else {}
    missing = [block for block, version in wanted.items() if had.get(block) != version]
    blocks = {block: known[block] for block in wanted.keys() - missing}
    if missing:
        blocks |= read(missing)
    order = sorted(blocks)
    parts = [blocks[block] for block in order]
    columns = parts[0] if len(parts) == 1 else concatenate([nothing(), *parts])
    size = _OBJECT_BYTES + _DERIVED_BYTES * len(columns)
    for field in fields(columns):
        array = getattr(columns, field.name)
        array.flags.writeable = False  # Every request of the process ranks the same arrays.
        size += array.nbytes
    if len(order) != len(wanted):  # Somebody deleted rows between two statements of a transaction that sees that.
        versions = " ".join([wanted[block] for block in order])
    return Kept(versions, [len(part) for part in parts], columns, size, 0.0)


def _by_block(versions: str) -> Mapping[int, str]:
    """What is said of each block, by its number."""
    return {int(version.partition(":")[0]): version for version in versions.split()}


def _blocks(kept: Kept) -> list[PassageColumns]:
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
