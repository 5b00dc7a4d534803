"""SQL of `episodes`: append, never change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntFlag
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.rows import Episode
from storage.transactions import Connection, text_array, uuid_array

_COLUMNS = "id, subject_id, session_id, source, type, payload, metadata, provenance, occurred_at, created_at"

_INSERT = """
insert into episodes (id, tenant_id, subject_id, seq, session_id, source, type, payload, metadata, provenance,
                      body, idempotency_key, occurred_at, created_at, signals{columns})
select e.id, %(tenant)s, e.subject_id, e.seq, e.session_id, e.source, e.type, e.payload, e.metadata, e.provenance,
       e.body, e.idempotency_key, e.occurred_at, %(now)s, e.signals{values}
  from unnest(%(id)s::uuid[], %(subject_id)s::text[], %(seq)s::bigint[], %(session_id)s::text[], %(source)s::text[],
              %(type)s::text[], %(payload)s::json[], %(metadata)s::json[], %(provenance)s::json[], %(body)s::text[],
              %(idempotency_key)s::text[], %(occurred_at)s::timestamptz[], %(signals)s::smallint[]{arrays})
       as e (id, subject_id, seq, session_id, source, type, payload, metadata, provenance, body, idempotency_key,
             occurred_at, signals{columns})
on conflict (tenant_id, subject_id, idempotency_key) where idempotency_key is not null do nothing
returning id
"""

#: PERF: few episodes have times of their own besides `occurred_at`; a batch without any does not send three columns.
_INSERT_PLAIN = _INSERT.format(columns="", values="", arrays="")
_INSERT_TIMED = _INSERT.format(
    columns=", event_at, user_at, agent_at",
    values=", e.event_at, e.user_at, e.agent_at::timestamptz[]",
    arrays=", %(event_at)s::timestamptz[], %(user_at)s::timestamptz[], %(agent_at)s::text[]",
)

#: Columns of text that are sent as one array each.
_TEXTS = ("subject_id", "session_id", "source", "type", "body", "idempotency_key")

_BY_KEYS = f"""
select idempotency_key, {_COLUMNS}
  from episodes
  join unnest(%(subjects)s::text[], %(keys)s::text[]) as wanted (wanted_subject, wanted_key)
    on subject_id = wanted_subject and idempotency_key = wanted_key
 where tenant_id = %(tenant)s
"""

_UNCOMPILED = f"""
select seq, body, {_COLUMNS}
  from episodes
 where tenant_id = %(tenant)s and subject_id = %(subject)s and seq > %(after)s
 order by seq
 limit %(limit)s
"""

_BY_IDS = f"""
select body, {_COLUMNS} from episodes where tenant_id = %s and subject_id = %s and id = any(%s::uuid[])
"""


class EpisodeSignal(IntFlag):
    """What support figures need to know of an episode. The bits are stored."""

    CUSTOMER_SPEAKS = 1
    AGENT_SPEAKS = 2
    ESCALATES = 4


class NewEpisodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """An episode about to be appended; its sequence number is known once its subject is locked."""

    id: UUID
    subject_id: str
    session_id: str | None
    source: str
    type: str
    payload: bytes
    metadata: bytes
    provenance: bytes
    body: str
    idempotency_key: str | None
    occurred_at: datetime
    signals: int = 0
    event_at: datetime | None = None
    user_at: datetime | None = None
    agent_at: Sequence[datetime] = ()

    @property
    def is_timed(self) -> bool:
        """Whether anything in it happened at another time than the episode as a whole."""
        return self.event_at is not None or self.user_at is not None or bool(self.agent_at)


class KeyedEpisode(Episode, frozen=True, kw_only=True):
    """A stored episode with the idempotency key it was sent under."""

    idempotency_key: str


class EpisodeWithBody(Episode, frozen=True, kw_only=True):
    """An episode with the text its passages point into."""

    body: str


class UncompiledEpisode(EpisodeWithBody, frozen=True, kw_only=True):
    """An episode that waits for compilation, with its place in the subject."""

    seq: int


def insert_episodes(
    conn: Connection, tenant_id: str, rows: Sequence[NewEpisodeRow], sequences: Sequence[int], *, now: datetime
) -> set[UUID]:
    """Append the rows whose idempotency keys are new, in one statement.

    Call it with the subjects locked (`storage.subjects.reserve_sequences`): then a key that conflicts belongs to a
    committed row, and sequence numbers follow commit order.

    Returns:
        The ids that were inserted; the others are repetitions of stored episodes.
    """
    parameters = {
        "tenant": tenant_id,
        "now": now,
        "seq": list(sequences),
        "id": uuid_array(row.id for row in rows),
        "payload": text_array(row.payload.decode() for row in rows),
        "metadata": text_array(row.metadata.decode() for row in rows),
        "provenance": text_array(row.provenance.decode() for row in rows),
        "occurred_at": [row.occurred_at for row in rows],
        "signals": [row.signals for row in rows],
        **{name: text_array(getattr(row, name) for row in rows) for name in _TEXTS},
    }
    if any(row.is_timed for row in rows):
        parameters["event_at"] = [row.event_at for row in rows]
        parameters["user_at"] = [row.user_at for row in rows]
        # An array of arrays of different lengths has no SQL form, so this one goes as text.
        parameters["agent_at"] = [f"{{{','.join(map(str, row.agent_at))}}}" if row.agent_at else None for row in rows]
        return {row[0] for row in conn.execute(_INSERT_TIMED, parameters)}
    return {row[0] for row in conn.execute(_INSERT_PLAIN, parameters)}


def episodes_by_keys(
    conn: Connection, tenant_id: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Episode]:
    """Stored episodes by (subject, idempotency key). Index: episodes_idempotency_key."""
    with conn.cursor(row_factory=class_row(KeyedEpisode)) as cursor:
        found = cursor.execute(
            _BY_KEYS, {"tenant": tenant_id, "subjects": [s for s, _ in keys], "keys": [k for _, k in keys]}
        ).fetchall()
    names = Episode.__struct_fields__
    # Without the key: what a repetition is answered with is what the first sending was answered with.
    return {
        (row.subject_id, row.idempotency_key): Episode(**{name: getattr(row, name) for name in names}) for row in found
    }


def uncompiled_episodes(
    conn: Connection, tenant_id: str, subject_id: str, *, after_seq: int, limit: int
) -> list[UncompiledEpisode]:
    """The oldest episodes after a sequence number. Index: (tenant_id, subject_id, seq)."""
    with conn.cursor(row_factory=class_row(UncompiledEpisode)) as cursor:
        return cursor.execute(
            _UNCOMPILED, {"tenant": tenant_id, "subject": subject_id, "after": after_seq, "limit": limit}
        ).fetchall()


def episodes_by_ids(
    conn: Connection, tenant_id: str, subject_id: str, ids: Sequence[UUID]
) -> dict[UUID, EpisodeWithBody]:
    """Episodes of one subject by id, with their text. Index: the primary key."""
    with conn.cursor(row_factory=class_row(EpisodeWithBody)) as cursor:
        return {row.id: row for row in cursor.execute(_BY_IDS, (tenant_id, subject_id, uuid_array(ids)))}
