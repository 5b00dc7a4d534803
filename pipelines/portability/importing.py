"""Putting a subject in, in one transaction: all of it, or nothing.

What is there already stays as it is, so importing twice changes nothing. What the ledger of erasures says was erased
stays erased. Passages come with the document where nothing contradicts it; otherwise a run makes them again
(`pipelines.portability.indexing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from uuid import UUID, uuid5

import msgspec
import psycopg

from config.clock import utcnow
from config.errors import BadRequest
from config.ids import uuid7
from pipelines import audit
from pipelines.erasure_receipts import item_hash, subject_hash
from pipelines.portability import indexing, rows
from pipelines.portability.document import PASSAGE_LAYOUT, RECEIPTS, VERSION_1_0
from pipelines.portability.reading import Source
from pipelines.portability.rows import DERIVED, Row
from pipelines.services import Services
from storage import compile_requests, erasures, health_states, portability
from storage.transactions import Connection, operator_transaction

#: Rows that are inserted by one statement.
BATCH = 250

#: Root of the ids that an import gives which does not keep those of the document.
_NAMESPACE = UUID("6f0d8a52-58a9-4f5c-9a0e-3b1b8f6d2c11")

#: Called with the section and how many of its rows have been read.
Progress = Callable[[str, int], None]


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """How a document is to be taken in. Without a target it goes where it came from."""

    target_subject_id: str | None = None
    target_tenant_id: str | None = None
    preserve_ids: bool = True
    #: Take in also what was erased: only an operator who knows why says so.
    include_erased: bool = False
    by: str
    request_id: str | None = None


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. What was there already counts as unchanged."""

    subject_id: str
    tenant_id: str
    episodes_imported: int
    memories_imported: int
    ids_preserved: bool
    #: Rows that were inserted, by section.
    rows_imported: dict[str, int]
    #: Rows that were there already.
    unchanged: int
    #: Rows that were left out because they had been erased.
    skipped_erased: int
    #: Receipts that came along. They stay in the chain of the server that wrote them, and the document proves them.
    receipts_left_out: int
    #: Whether passages are made again by a run; until then, context does not find what was imported.
    indexing: bool


def import_document(
    services: Services,
    source: Source,
    wishes: Wishes,
    *,
    progress: Progress = lambda section, rows: None,
    admit: Callable[[str], None] = lambda tenant_id: None,
) -> Imported:
    """Take one document in.

    Args:
        admit: raises for a tenant that is not to be served here.

    Raises:
        BadRequest: when it is not one that this server reads, its checksum does not match, or an id is taken by a row
            of another subject. Nothing has been imported then.
    """
    try:
        with operator_transaction(services.pool) as conn:
            document = _Import(conn, source, wishes, services)
            admit(document.tenant_id)
            return document.run(progress)
    except (psycopg.DataError, psycopg.IntegrityError) as ex:
        raise BadRequest(f"not a row of this server: {ex.diag.message_primary}") from None


class _Import:
    """One document on its way into one transaction."""

    def __init__(self, conn: Connection, source: Source, wishes: Wishes, services: Services) -> None:
        header = source.header
        self._conn, self._source, self._wishes, self._header = conn, source, wishes, header
        self._model = services.embedder.model if services.embedder else None
        self._compiles_by_itself = services.settings.auto_compile_after_seconds is not None
        self.subject_id = wishes.target_subject_id or header.subject_id
        target = wishes.target_tenant_id
        self.tenant_id = target if target is not None else header.tenant_id or ""
        self._is_1_0 = header.format_version == VERSION_1_0
        self._namespace = uuid5(_NAMESPACE, f"{len(self.tenant_id)}:{self.tenant_id}{self.subject_id}")
        self._tenants = sorted({header.tenant_id or "", self.tenant_id})
        self._erased_until = None if wishes.include_erased else self._last_erasure()
        self._inserted = dict.fromkeys(portability.SECTIONS, 0)
        self._unchanged = self._skipped = self._receipts = 0
        self._skipped_memories: set[UUID] = set()
        #: Last episode that the document says is compiled: in its own numbers, and in those of the subject.
        self._compiled_there = _compiled_seq(header.subject)
        self._newest_compiled = 0

    def run(self, progress: Progress) -> Imported:
        fresh: bool | None = None
        shift, all_compiled = 0, True
        passages_fit = False
        models: set[str] = set()
        for section, number, batch in self._batches(progress):
            if not batch:
                continue
            if fresh is None:
                subject = bytes(self._header.subject)
                row = None if self._is_1_0 or subject == b"null" else subject
                fresh = portability.create_subject(self._conn, self.tenant_id, self.subject_id, row)
                shift, all_compiled = portability.newest_seq(self._conn, self.tenant_id, self.subject_id)
                if fresh:
                    shift, all_compiled = 0, True
                passages_fit = fresh and self._wishes.preserve_ids and self._header.passage_layout == PASSAGE_LAYOUT
            if section in DERIVED and not (passages_fit and not self._skipped):
                continue
            if section == "passage_vectors":
                models |= {msgspec.json.decode(text, type=_Model).model for text in batch}
            self._insert(section, number, batch, shift)
        if fresh is None:
            return self._outcome(indexing=False)
        return self._finish(fresh, shift, all_compiled, self._has_passages(passages_fit, models))

    def _finish(self, fresh: bool, shift: int, all_compiled: bool, has_passages: bool) -> Imported:
        changed = any(self._inserted.values())
        compiled_seq = 0
        if fresh and not self._is_1_0:
            compiled_seq = self._compiled_there
        elif fresh or all_compiled:
            # Behind episodes that wait, those of the document wait as well: the watermark has no gaps.
            compiled_seq = self._newest_compiled
        if changed or fresh:
            portability.recount(
                self._conn,
                self.tenant_id,
                self.subject_id,
                compiled_seq=compiled_seq,
                # A subject that was not there brings its own count of changes.
                resolutions=0 if fresh and not self._is_1_0 else self._inserted["resolutions"],
                model=self._model if has_passages else None,
            )
        if self._inserted["resolutions"]:
            due = utcnow() + health_states.QUIET
            health_states.schedule(self._conn, self.tenant_id, [self.subject_id], run_after=due)
        if self._compiles_by_itself and not portability.newest_seq(self._conn, self.tenant_id, self.subject_id)[1]:
            waiting = {self.subject_id: uuid7()}
            compile_requests.schedule_compiles(
                self._conn, self.tenant_id, waiting, run_after=None, request_id=self._wishes.request_id
            )
        needs_index = changed and not has_passages
        if needs_index:
            indexing.order(self._conn, self.tenant_id, self.subject_id, request_id=self._wishes.request_id)
        return self._outcome(indexing=needs_index)

    def _outcome(self, *, indexing: bool) -> Imported:
        imported = Imported(
            subject_id=self.subject_id,
            tenant_id=self.tenant_id,
            episodes_imported=self._inserted["episodes"],
            memories_imported=self._inserted["memories"],
            ids_preserved=self._wishes.preserve_ids,
            rows_imported={section: count for section, count in self._inserted.items() if count},
            unchanged=self._unchanged,
            skipped_erased=self._skipped,
            receipts_left_out=self._receipts,
            indexing=indexing,
        )
        details = {
            "rows": imported.rows_imported,
            "skipped_erased": self._skipped,
            "include_erased": self._wishes.include_erased,
        }
        audit.record(
            self._conn,
            actor=self._wishes.by,
            action="subject.import",
            tenant_id=self.tenant_id,
            # APPSEC: the log outlives an erasure, so it does not name the subject.
            target=subject_hash(self.tenant_id, self.subject_id).hex(),
            details=details,
            request_id=self._wishes.request_id,
        )
        return imported

    def _last_erasure(self) -> datetime | None:
        name = self._header.subject_id
        return erasures.last_erasure(self._conn, [(tenant, subject_hash(tenant, name)) for tenant in self._tenants])

    def _batches(self, progress: Progress) -> Iterator[tuple[str, int, list[bytes]]]:
        """Rows that are to be inserted, section by section: (section, number of the first, rows)."""
        waiting: list[tuple[Row, bytes]] = []
        current, started, number = "", 0, 0
        for section, text in self._source.rows():
            if section not in portability.SECTIONS:
                self._receipts += section == RECEIPTS
                continue  # What a later version adds.
            if section != current or len(waiting) >= BATCH:
                if waiting:
                    yield current, started, self._not_erased(current, waiting)
                if section != current:
                    current, number = section, 0
                waiting, started = [], number
            waiting.append((rows.look_at(section, number, text), text))
            number += 1
            progress(section, number)
        if waiting:
            yield current, started, self._not_erased(current, waiting)

    def _not_erased(self, section: str, batch: Iterable[tuple[Row, bytes]]) -> list[bytes]:
        batch = list(batch)
        if self._wishes.include_erased or section in DERIVED:
            return [text for _, text in batch]
        gone = self._erased_ids([row.id for row, _ in batch if row.id is not None])
        kept = []
        for row, text in batch:
            at = row.recorded_at
            was_erased = row.id in gone or row.memory_id in self._skipped_memories
            if was_erased or (self._erased_until is not None and at is not None and at <= self._erased_until):
                self._skipped += 1
                if section == "memories" and row.id is not None:
                    self._skipped_memories.add(row.id)
            else:
                kept.append(text)
        return kept

    def _erased_ids(self, ids: list[UUID]) -> set[UUID]:
        by_hash = {item_hash(tenant, id): id for id in ids for tenant in self._tenants}
        return {by_hash[found] for found in erasures.erased_among(self._conn, self._tenants, list(by_hash))}

    def _insert(self, section: str, number: int, batch: list[bytes], shift: int) -> None:
        if not batch:
            return
        if self._is_1_0:
            compiled = [rows.look_at(section, number, text).last_compiled_at is not None for text in batch]
            self._compiled_there += sum(compiled) if section == "episodes" else 0
            batch = [
                rows.completed(section, number + place, text, seq=number + place + 1)
                for place, text in enumerate(batch)
            ]
        if not self._wishes.preserve_ids:
            batch = [rows.renamed(section, text, self._namespace) for text in batch]
        if section in ("episodes", "memories", "resolutions"):
            batch = self._not_there_yet(section, number, batch)
        if section == "episodes":
            batch = self._with_sequence(batch, shift)
        languages = [rows.language_of_memory(text) for text in batch] if section == "memories" else []
        inserted = portability.insert(self._conn, section, self.tenant_id, self.subject_id, batch, languages=languages)
        self._inserted[section] += inserted
        self._unchanged += len(batch) - inserted

    def _not_there_yet(self, section: str, number: int, batch: list[bytes]) -> list[bytes]:
        found = [rows.look_at(section, number + place, text) for place, text in enumerate(batch)]
        taken = portability.known_ids(self._conn, section, [row.id for row in found if row.id is not None])
        fresh = []
        for row, text in zip(found, batch, strict=True):
            if row.id not in taken:
                fresh.append(text)
            elif taken[row.id] != (self.tenant_id, self.subject_id):
                raise BadRequest(f"{section}: the id {row.id} is taken; import with preserve_ids false")
            else:
                self._unchanged += 1
        return fresh

    def _with_sequence(self, batch: list[bytes], shift: int) -> list[bytes]:
        """Episodes behind those that are there; a document into an empty subject keeps its own numbers."""
        numbered = []
        for text in batch:
            seq = rows.look_at("episodes", 0, text).seq or 0
            # PERF: nothing is written anew for a subject that was not there.
            numbered.append(text if shift == 0 else rows.numbered(text, seq + shift))
            if seq <= self._compiled_there:
                self._newest_compiled = seq + shift
        return numbered

    def _has_passages(self, fit: bool, models: set[str]) -> bool:
        """Whether everything that is retrievable came with its passages, in vectors of this server's model."""
        complete = fit and not self._skipped
        return complete and (self._model is None or self._model in models or not self._inserted["passage_blocks"])


class _Compiled(msgspec.Struct, frozen=True):
    compiled_seq: int = 0


def _compiled_seq(subject: msgspec.Raw) -> int:
    try:
        known = msgspec.json.decode(subject, type=_Compiled | None)
    except msgspec.DecodeError as ex:
        raise BadRequest(f"subject: {ex}") from None
    return known.compiled_seq if known else 0


class _Model(msgspec.Struct, frozen=True):
    model: str
