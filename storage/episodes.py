"""SQL of `episodes`: reading. They are appended by `storage.appending`, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag
from uuid import UUID

from psycopg.rows import class_row

from storage.rows import Episode
from storage.transactions import Connection, uuid_array

_COLUMNS = "id, subject_id, session_id, source, type, payload, metadata, provenance, occurred_at, created_at"

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


class EpisodeWithBody(Episode, frozen=True, kw_only=True):
    """An episode with the text its passages point into."""

    body: str


class UncompiledEpisode(EpisodeWithBody, frozen=True, kw_only=True):
    """An episode that waits for compilation, with its place in the subject."""

    seq: int


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
