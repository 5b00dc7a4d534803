"""Taking a subject out, piece by piece: memory does not grow with the subject."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from config.clock import utcnow
from config.errors import NotFound
from pipelines import audit
from pipelines.erasure_receipts import subject_hash
from pipelines.portability.document import (
    EPISODE_KEYS_1_0,
    MEMORY_KEYS_1_0,
    PASSAGE_LAYOUT,
    RECEIPTS,
    VERSION_1_0,
    VERSION_1_1,
    Checksum,
    Header,
    checksum_1_0,
)
from pipelines.receipts.reading import with_status
from pipelines.services import Services
from storage import portability, receipts
from storage.receipts import ReceiptFilter
from storage.transactions import Connection, Pool, snapshot_transaction, tenant_transaction

Form = Literal["json", "jsonl"]

#: Bytes that are collected before they are handed on.
PIECE = 64 * 1024

#: Receipts that one statement reads.
RECEIPTS_AT_ONCE = 500

#: The rows of a section.
Rows = Callable[[str], Iterator[bytes]]

#: Called with the section and how many of its rows have been read.
Progress = Callable[[str, int], None]


def export_subject(
    services: Services,
    tenant_id: str,
    subject_id: str,
    *,
    form: Form = "json",
    version: str = VERSION_1_1,
    with_receipts: bool = False,
    by: str,
    request_id: str | None = None,
    progress: Progress = lambda section, rows: None,
) -> Iterator[bytes]:
    """The subject as a document, as it stands at one moment, in pieces.

    Args:
        with_receipts: whether what was delivered of the subject is told as well; version 1.0 has no place for it.

    Raises:
        NotFound: at once, when nothing is stored of it.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        if not portability.has_rows(conn, tenant_id, subject_id):
            raise NotFound(f"nothing is stored of subject {subject_id}")
        audit.record(
            conn,
            actor=by,
            action="subject.export",
            tenant_id=tenant_id,
            # APPSEC: the log outlives an erasure, so it does not name the subject.
            target=subject_hash(tenant_id, subject_id).hex(),
            details={"form": form, "format_version": version, "receipts": with_receipts},
            request_id=request_id,
        )
    if version == VERSION_1_0:
        return iter([_document_1_0(services.pool, tenant_id, subject_id)])
    return _in_pieces(_written(services.pool, tenant_id, subject_id, form, with_receipts, progress))


def _written(
    pool: Pool, tenant_id: str, subject_id: str, form: Form, with_receipts: bool, progress: Progress
) -> Iterator[bytes]:
    write = _json if form == "json" else _lines
    with snapshot_transaction(pool, tenant_id) as conn:
        counts = portability.counts(conn, tenant_id, subject_id)
        if with_receipts and (written := receipts.count(conn, tenant_id, subject_id)):
            counts[RECEIPTS] = written
        header = _header(conn, tenant_id, subject_id)
        yield from write(header, counts, lambda section: _rows(conn, section, tenant_id, subject_id), progress)


def _rows(conn: Connection, section: str, tenant_id: str, subject_id: str) -> Iterator[bytes]:
    if section == RECEIPTS:
        return _receipts(conn, tenant_id, subject_id)
    return portability.rows(conn, section, tenant_id, subject_id)


def _receipts(conn: Connection, tenant_id: str, subject_id: str) -> Iterator[bytes]:
    """The subject's receipts as `GET /v1/receipts` answers them, the newest first, hidden ones included."""
    which = ReceiptFilter(tenant_id=tenant_id, subject_id=subject_id, include_tombstoned=True)
    while page := receipts.page(conn, which, limit=RECEIPTS_AT_ONCE):
        yield from (msgspec.json.encode(with_status(row)) for row in page)
        which = msgspec.structs.replace(which, before=page[-1].receipt_id)


def _header(conn: Connection, tenant_id: str, subject_id: str) -> Header:
    return Header(
        format_version=VERSION_1_1,
        exported_at=utcnow().isoformat(),
        subject_id=subject_id,
        tenant_id=tenant_id or None,
        passage_layout=PASSAGE_LAYOUT,
        subject=msgspec.Raw(portability.subject_row(conn, tenant_id, subject_id)),
    )


def _lines(header: Header, counts: dict[str, int], rows: Rows, progress: Progress) -> Iterator[bytes]:
    checksum = Checksum()
    yield msgspec.json.encode(header) + b"\n"
    for section in counts:
        for number, row in enumerate(rows(section)):
            checksum.add(section, row)
            progress(section, number + 1)
            yield b'{"section":"%s","row":%s}\n' % (section.encode(), row)
    end = {"end": True, "counts": counts, "checksum": checksum.hexdigest()}
    yield msgspec.json.encode(end) + b"\n"


def _json(header: Header, counts: dict[str, int], rows: Rows, progress: Progress) -> Iterator[bytes]:
    checksum = Checksum()
    yield msgspec.json.encode(header)[:-1] + b',"counts":' + msgspec.json.encode(counts)
    for section in counts:
        yield b',"%s":[' % section.encode()
        for number, row in enumerate(rows(section)):
            checksum.add(section, row)
            progress(section, number + 1)
            yield (b"," if number else b"") + row
        yield b"]"
    yield b',"checksum":"%s"}' % checksum.hexdigest().encode()


def _document_1_0(pool: Pool, tenant_id: str, subject_id: str) -> bytes:
    """The contract's document, for servers that know no other. What it cannot say is lost."""
    with snapshot_transaction(pool, tenant_id) as conn:
        compiled_seq = json.loads(portability.subject_row(conn, tenant_id, subject_id))["compiled_seq"]
        stored = {
            section: [json.loads(row) for row in portability.rows(conn, section, tenant_id, subject_id)]
            for section in ("episodes", "memories")
        }
    whose = {"subject_id": subject_id, "tenant_id": tenant_id or None}
    for episode in stored["episodes"]:
        # When an episode was compiled is not kept; that it was is what readers of 1.0 need.
        compiled = episode["seq"] <= compiled_seq
        episode |= {**whose, "last_compiled_at": episode["created_at"] if compiled else None}
    for memory in stored["memories"]:
        memory |= {**whose, "embedding": None}
    episodes = [_keys(row, EPISODE_KEYS_1_0) for row in stored["episodes"]]
    memories = [_keys(row, MEMORY_KEYS_1_0) for row in stored["memories"]]
    document = {
        "format_version": VERSION_1_0,
        "exported_at": utcnow().isoformat(),
        **whose,
        "counts": {"episodes": len(episodes), "memories": len(memories)},
        "episodes": episodes,
        "memories": memories,
        "checksum": checksum_1_0(episodes, memories),
    }
    return json.dumps(document).encode()


def _keys(row: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: row[key] for key in keys}


def _in_pieces(written: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for part in written:
        waiting.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
