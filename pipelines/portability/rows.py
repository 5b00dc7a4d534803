"""Rows of a document on their way in: what version 1.0 does not say is worked out, ids are replaced where they must be.

Rows of version 1.1 pass as the text they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec

from config.clock import utcnow
from config.deferred import np
from config.errors import BadRequest
from pipelines.compilation import content_hash
from pipelines.episode_text import episode_text
from pipelines.support.episode_signals import episode_signals
from pipelines.terms import full_text_language
from storage.passages import record_type

#: Sections of version 1.1 that only make sense with the ids and the sequence numbers of the document.
DERIVED = ("passage_blocks", "passage_vectors")

#: What reading a row raises that is none.
_NOT_A_ROW = (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)

_encode = msgspec.json.Encoder().encode

#: Columns that hold ids of rows that travel, by section.
_IDS: Mapping[str, tuple[str, ...]] = {
    "episodes": ("id",),
    "memories": ("id", "superseded_by"),
    "memory_versions": ("memory_id",),
    "resolutions": ("id",),
    "resolution_changes": ("resolution_id",),
}


class Row(msgspec.Struct, frozen=True):
    """What the import looks at of any row, before it is inserted as the text it is."""

    id: UUID | None = None
    memory_id: UUID | None = None
    created_at: datetime | None = None
    changed_at: datetime | None = None
    known_from: datetime | None = None
    last_compiled_at: datetime | None = None
    seq: int | None = None
    passages: str = ""
    terms: str = ""

    @property
    def recorded_at(self) -> datetime | None:
        """When the row was first known."""
        at = self.created_at or self.changed_at or self.known_from
        # As the database reads it.
        return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


_decode_row = msgspec.json.Decoder(Row).decode


def look_at(section: str, number: int, text: bytes) -> Row:
    """The row's id and time.

    Raises:
        BadRequest: when it cannot be a row of the section.
    """
    try:
        row = _decode_row(text)
    except msgspec.DecodeError as ex:
        raise BadRequest(f"{section}[{number}]: {ex}") from None
    if section == "passage_blocks":
        _check_block(row, number)
    return row


def completed(section: str, number: int, text: bytes, *, seq: int) -> bytes:
    """A row of version 1.0 with what it does not say.

    Raises:
        BadRequest: when something is missing that nothing can be worked out from.
    """
    try:
        row = msgspec.json.decode(text, type=dict[str, Any])
        return _encode(_episode(row, seq) if section == "episodes" else _memory(row))
    except _NOT_A_ROW as ex:
        raise BadRequest(f"{section}[{number}]: {type(ex).__name__}: {ex}") from None


def language_of_memory(text: bytes) -> str | None:
    """What full-text search indexes a memory by; None where its text does not say."""
    return full_text_language(msgspec.json.decode(text, type=_Content).content or "")


def numbered(text: bytes, seq: int) -> bytes:
    """An episode with another sequence number. Its documents stay the text they are."""
    row = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return _encode({**row, "seq": msgspec.Raw(str(seq).encode())})


class _Content(msgspec.Struct):
    #: Empty where there is none: the database refuses such a memory, and says of which column.
    content: str | None = ""


def renamed(section: str, text: bytes, namespace: UUID) -> bytes:
    """A row under ids that follow from the old ones and the namespace, so that doing it twice gives the same.

    Raises:
        BadRequest: when its ids are none.
    """
    try:
        return _renamed(section, text, namespace)
    except _NOT_A_ROW as ex:
        raise BadRequest(f"{section}: {type(ex).__name__}: {ex}") from None


def _renamed(section: str, text: bytes, namespace: UUID) -> bytes:
    row: dict[str, Any] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    for key in _IDS.get(section, ()):
        old = msgspec.json.decode(row.get(key, b"null"))
        if old is not None:
            row[key] = str(uuid5(namespace, str(UUID(old))))
    if section == "memories":
        sources = msgspec.json.decode(row.get("source_episode_ids", b"[]"), type=list[UUID])
        row["source_episode_ids"] = [str(uuid5(namespace, str(source))) for source in sources]
    if section == "memory_versions":
        row["state"] = msgspec.Raw(_renamed("memories", bytes(row["state"]), namespace))
    return _encode(row)


def _episode(row: dict[str, Any], seq: int) -> dict[str, Any]:
    payload, metadata = row["payload"] or {}, row.get("metadata") or {}
    created_at = msgspec.convert(row["created_at"], datetime)
    given = row.get("occurred_at")
    occurred_at = msgspec.convert(given, datetime) if given else created_at
    body = episode_text(payload)
    signals = episode_signals(
        payload, body, source=row["source"], metadata=metadata, occurred_at=occurred_at, now=utcnow()
    )
    agent_at = [] if signals.agent_at == [signals.event_at] else list(signals.agent_at)
    return {
        **{key: row[key] for key in ("id", "source", "type")},
        "session_id": row.get("session_id"),
        "idempotency_key": row.get("idempotency_key"),
        "payload": payload,
        "metadata": metadata,
        "provenance": row.get("provenance") or {},
        "occurred_at": occurred_at,
        "created_at": created_at,
        "seq": seq,
        "body": body,
        "signals": int(signals.flags),
        "event_at": None if signals.event_at == occurred_at else signals.event_at,
        "user_at": None if signals.user_at == signals.event_at else signals.user_at,
        "agent_at": agent_at or None,
    }


def _memory(row: dict[str, Any]) -> dict[str, Any]:
    created_at = row["created_at"]
    return {
        **{key: row[key] for key in ("id", "kind", "content")},
        "summary": row.get("summary") or "",
        "confidence": float(row.get("confidence", 1.0)),
        "valid_from": row.get("valid_from") or created_at,
        "valid_to": row.get("valid_to"),
        "source_episode_ids": row.get("source_episode_ids") or [],
        "metadata": row.get("metadata") or {},
        "status": {"deleted": "tombstoned"}.get(row.get("status", ""), row.get("status") or "active"),
        "sensitivity_labels": row.get("sensitivity_labels") or [],
        "suggested_labels": row.get("suggested_labels") or [],
        "content_hash": "\\x" + content_hash(row["content"]).hex(),
        "created_at": created_at,
        "updated_at": row.get("updated_at") or created_at,
    }


def _check_block(row: Row, number: int) -> None:
    """A block that contradicts itself would fail every reader of the subject."""
    try:
        passages, terms = bytes.fromhex(row.passages.removeprefix("\\x")), bytes.fromhex(row.terms.removeprefix("\\x"))
        owned = int(np.frombuffer(passages, dtype=record_type())["term_counts"].sum())
    except ValueError as ex:
        raise BadRequest(f"passage_blocks[{number}]: {ex}") from None
    if 4 * owned != len(terms):
        raise BadRequest(f"passage_blocks[{number}]: {owned} terms are counted, {len(terms) / 4:g} are there")
