"""Which world a context is made of: the subject as it is, as it stood, or as things were.

Two times, as in every bitemporal store. `known_at` is the time of record: what did we know then. `valid_at` (on the
wire `as_of`) is the time things happen in: what was true then. Without either it is the present. All of them go through
one ranking and one packing; a world only says what there is to rank.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from config.deferred import np
from config.errors import ValidationFailed
from pipelines.embedding import NO_MODEL, vectors_of
from pipelines.passages import columns_of, memory_passage
from pipelines.services import Embedder, Services
from pipelines.support.facts import Snapshot, SubjectFacts, facts_of, read_facts
from storage import history, support_facts
from storage.episodes import uncompiled_episodes
from storage.history import Watermark
from storage.passage_cache import PassageCache
from storage.passage_columns import NEVER, Kind, PassageColumns, concatenate, take
from storage.passages import BLOCK, decode_blocks
from storage.reading import ReaderState, first_read, tenant_snapshot
from storage.retrieval import STATE_FIRST, Candidates, SubjectState, load_candidates, read_state
from storage.transactions import Connection

#: A transaction, and what governs reading in it.
Opened: TypeAlias = tuple[Connection, ReaderState]

#: The same for ranking, with the subject's state where that came along.
OpenedToRank: TypeAlias = tuple[Connection, ReaderState, SubjectState | None]


class HistoryGone(Exception):
    """What a receipt's reader saw cannot be seen any more; `reason` says why."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which subject is to be read, and with what."""

    services: Services
    tenant_id: str
    subject_id: str
    #: Of the episodes that wait for compilation, how many are read at most, the newest.
    waiting_limit: int
    #: Whose vectors; None for the model that the subject is read with.
    model: str | None = None
    #: Where subjects are kept between requests.
    cache: PassageCache | None = None
    #: The subject's state, if the transaction has read it.
    state: SubjectState | None = None


class World(Protocol):
    """Where the passages and memories of a context come from."""

    def open(self, services: Services, tenant_id: str, subject_id: str) -> contextlib.AbstractContextManager[Opened]:
        """A transaction in which every query sees this world."""

    def open_to_rank(
        self, services: Services, tenant_id: str, subject_id: str, *, wants_receipt: bool = False
    ) -> contextlib.AbstractContextManager[OpenedToRank]:
        """The same, for whoever loads the subject next.

        Args:
            wants_receipt: Whether a receipt of what is read is asked for.
        """

    def load(self, conn: Connection, wanted: Wanted) -> Candidates | None:
        """Everything retrievable of the subject; None for an unknown one."""

    def facts(self, conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
        """What is known of the subject's sessions."""


@dataclass(frozen=True, slots=True)
class Present:
    """The subject as it is."""

    @contextlib.contextmanager
    def open(self, services: Services, tenant_id: str, subject_id: str) -> Iterator[Opened]:
        with tenant_snapshot(services.pool, tenant_id, subject_id) as (conn, state):
            yield conn, state

    @contextlib.contextmanager
    def open_to_rank(
        self, services: Services, tenant_id: str, subject_id: str, *, wants_receipt: bool = False
    ) -> Iterator[OpenedToRank]:
        asked = (tenant_id, subject_id, _model(services.embedder))
        opened = first_read(
            services.pool, tenant_id, STATE_FIRST, asked, subject_id=subject_id, wants_receipt=wants_receipt
        )
        with opened as (conn, reader, row):
            yield conn, reader, SubjectState(*row)

    def load(self, conn: Connection, wanted: Wanted) -> Candidates | None:
        services, subject = wanted.services, (wanted.tenant_id, wanted.subject_id)
        state = wanted.state
        if state is None:
            state = read_state(conn, *subject, model=_model(services.embedder), forced_model=wanted.model)
        return load_candidates(
            conn,
            *subject,
            state,
            dimensions_of=lambda name: _dimensions(services.embedder_of(name)),
            waiting_limit=wanted.waiting_limit,
            cache=wanted.cache,
        )

    def facts(self, conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
        return read_facts(conn, tenant_id, subject_id)


@dataclass(frozen=True, slots=True)
class Past:
    """The subject as it stood at a time of record, or exactly as a receipt's reader saw it."""

    known_at: datetime | None
    #: What the reader saw; None finds it by the time.
    watermark: Watermark | None = None
    #: Labels as they were, for replaying a decision; else those of now decide what a caller may see.
    labels_then: bool = False
    #: Whose vectors the reader ranked with, if that is on record.
    model: str | None = None

    @contextlib.contextmanager
    def open(self, services: Services, tenant_id: str, subject_id: str) -> Iterator[Opened]:
        with tenant_snapshot(services.pool, tenant_id) as (conn, state):
            seen = self._seen(conn, tenant_id, subject_id)
            history.look_back(
                conn,
                snapshot=self.watermark.snapshot if self.watermark else "",
                known_at=self.known_at,
                last_seq=seen.last_seq if seen else 0,
                labels_then=self.labels_then,
            )
            yield conn, state

    @contextlib.contextmanager
    def open_to_rank(
        self, services: Services, tenant_id: str, subject_id: str, *, wants_receipt: bool = False
    ) -> Iterator[OpenedToRank]:
        with self.open(services, tenant_id, subject_id) as (conn, reader):
            yield conn, reader, None

    def load(self, conn: Connection, wanted: Wanted) -> Candidates | None:
        subject = (wanted.tenant_id, wanted.subject_id)
        seen, then = self._seen(conn, *subject), self._state(conn, *subject)
        if seen is None or then is None:
            return None
        services = wanted.services
        # Without a record of the model, the vectors that the subject is read with now have to do.
        model = wanted.model or self.model or then.embedding_model or _model(services.embedder)
        after = max(seen.compiled_seq, seen.last_seq - wanted.waiting_limit)
        return Candidates(
            columns=self._columns(conn, *subject, seen, model, services.embedder_of(model)),
            speakers=then.speakers,
            waiting=uncompiled_episodes(conn, *subject, after_seq=after, limit=wanted.waiting_limit),
            has_resolutions=True,
            watermark=seen,
            model=model,
        )

    def facts(self, conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
        then = self._state(conn, tenant_id, subject_id)
        facts = facts_of(support_facts.sessions(conn, tenant_id, subject_id)) if then else SubjectFacts()
        return Snapshot(facts, None, exists=then is not None, watermark=self.watermark)

    def _seen(self, conn: Connection, tenant_id: str, subject_id: str) -> Watermark | None:
        if self.watermark is not None or self.known_at is None:
            return self.watermark
        return history.watermark_at(conn, tenant_id, subject_id, self.known_at)

    def _state(self, conn: Connection, tenant_id: str, subject_id: str) -> history.StateThen | None:
        """How far the subject was compiled then; what a receipt's reader saw must be there as a whole."""
        then = history.state_then(conn, tenant_id, subject_id)
        if self.watermark is not None:
            _require_whole(self.watermark, then)
        return then

    def _columns(
        self,
        conn: Connection,
        tenant_id: str,
        subject_id: str,
        seen: Watermark,
        model: str,
        embedder: Embedder | None,
    ) -> PassageColumns:
        """The first passages, those that ended later as if they had not."""
        blocks = history.load_blocks(conn, tenant_id, subject_id, model=model, blocks=-(-seen.passages // BLOCK))
        columns = decode_blocks(blocks, dimensions=_dimensions(embedder))
        if self.watermark is not None and len(columns) < seen.passages:
            raise HistoryGone("passages_missing", "passages that were looked at are no longer stored")
        if len(columns) > seen.passages:
            columns = take(columns, np.arange(seen.passages))
        until = columns.valid_until.copy()
        for source, end in history.not_ended(conn, tenant_id, subject_id).items():
            until[columns.source_id == np.void(source.bytes)] = end
        return replace(columns, valid_until=until)


@dataclass(frozen=True, slots=True)
class NothingStored:
    """The subject before anything was stored of it."""

    @contextlib.contextmanager
    def open(self, services: Services, tenant_id: str, subject_id: str) -> Iterator[Opened]:
        with tenant_snapshot(services.pool, tenant_id) as (conn, state):
            history.look_back(conn, known_at=datetime.min.replace(tzinfo=UTC), last_seq=0, labels_then=True)
            yield conn, state

    @contextlib.contextmanager
    def open_to_rank(
        self, services: Services, tenant_id: str, subject_id: str, *, wants_receipt: bool = False
    ) -> Iterator[OpenedToRank]:
        with self.open(services, tenant_id, subject_id) as (conn, reader):
            yield conn, reader, None

    def load(self, conn: Connection, wanted: Wanted) -> Candidates | None:
        return None

    def facts(self, conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
        return Snapshot(SubjectFacts(), None, exists=False)


@dataclass(frozen=True, slots=True)
class TrueThen:
    """Of another world, what was true at a moment: what had happened by then, and the memories that held then."""

    world: World
    valid_at: datetime

    def open(self, services: Services, tenant_id: str, subject_id: str) -> contextlib.AbstractContextManager[Opened]:
        return self.world.open(services, tenant_id, subject_id)

    def open_to_rank(
        self, services: Services, tenant_id: str, subject_id: str, *, wants_receipt: bool = False
    ) -> contextlib.AbstractContextManager[OpenedToRank]:
        return self.world.open_to_rank(services, tenant_id, subject_id, wants_receipt=wants_receipt)

    def load(self, conn: Connection, wanted: Wanted) -> Candidates | None:
        candidates = self.world.load(conn, wanted)
        if candidates is None:
            return None
        true = history.true_at(conn, wanted.tenant_id, wanted.subject_id, self.valid_at)
        embedder = wanted.services.embedder_of(candidates.model)
        return replace(
            candidates,
            columns=_true_columns(candidates, true, self.valid_at, embedder),
            waiting=[episode for episode in candidates.waiting if episode.occurred_at <= self.valid_at],
        )

    def facts(self, conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
        return self.world.facts(conn, tenant_id, subject_id)


PRESENT = Present()


def world_of(known_at: datetime | None, valid_at: datetime | None, *, now: datetime) -> World:
    """The world that a request names.

    Raises:
        ValidationFailed: when it asks what will be known.
    """
    if known_at is not None and known_at > now:
        raise ValidationFailed(
            "the request is not valid",
            details=[{"loc": ["body", "known_at"], "msg": "lies in the future", "type": "out_of_range"}],
        )
    world: World = PRESENT if known_at is None else Past(known_at)
    return world if valid_at is None else TrueThen(world, valid_at)


def _true_columns(
    candidates: Candidates, true: Sequence[history.TrueMemory], moment: datetime, embedder: Embedder | None
) -> PassageColumns:
    """Turns that had happened and memories that held; those that were superseded before they were ever current have no
    passage and get one here."""
    columns = candidates.columns
    by_id = {memory.id.bytes: memory for memory in true}
    ids = [row.tobytes() for row in columns.source_id]
    turns = (columns.kind == Kind.TURN) & (columns.occurred_at <= int(moment.timestamp() * 1_000_000))
    held = (columns.kind != Kind.TURN) & np.array([id in by_id for id in ids], dtype=np.bool_)
    kept = take(columns, np.flatnonzero(turns | held))
    kept = replace(kept, valid_until=np.full(len(kept), NEVER, dtype=np.int64))
    known = set(ids)
    missing = [
        memory_passage(memory_id=memory.id, kind=memory.kind, content=memory.content, valid_from=memory.valid_from)
        for id, memory in by_id.items()
        if id not in known
    ]
    if not missing:
        return kept
    return concatenate([kept, columns_of(missing, vectors_of(missing, embedder, speakers=candidates.speakers))])


def _require_whole(seen: Watermark, then: history.StateThen | None) -> None:
    if then is None or then.subject_since != seen.subject_since:
        raise HistoryGone("subject_erased", "the subject was erased after this was delivered")
    if then.erased_since:
        raise HistoryGone("content_erased", "something of the subject was erased after this was delivered")


def _dimensions(embedder: Embedder | None) -> int:
    return embedder.dimensions if embedder else 0


def _model(embedder: Embedder | None) -> str:
    return embedder.model if embedder else NO_MODEL
