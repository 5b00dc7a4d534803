"""SQL of `resolutions` and `resolution_changes`: how sessions ended, and how they came to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

_COLUMNS = "id, subject_id, session_id, status, resolution_summary, resolved_at, metadata, created_at, updated_at"

#: Takes the lock that orders everything about a subject, and makes what was worked out of it stale.
_TOUCH_SUBJECT = """
insert into subjects (tenant_id, subject_id, resolution_version) values (%(tenant)s, %(subject)s, 1)
on conflict (tenant_id, subject_id) do update set resolution_version = subjects.resolution_version + 1
"""

_UPSERT = f"""
with before as (
    select status, resolution_summary, metadata::text as metadata from resolutions
     where tenant_id = %(tenant)s and subject_id = %(subject)s and session_id = %(session)s
), written as (
    insert into resolutions as r (id, tenant_id, subject_id, session_id, status, resolution_summary, resolved_at,
                                  metadata, created_at, updated_at)
    values (%(id)s, %(tenant)s, %(subject)s, %(session)s, %(status)s, %(summary)s, %(resolved_at)s, %(metadata)s,
            %(now)s, %(now)s)
    on conflict (tenant_id, subject_id, session_id) do update
       set status = excluded.status, resolution_summary = excluded.resolution_summary,
           resolved_at = excluded.resolved_at, metadata = excluded.metadata, updated_at = excluded.updated_at,
           version = r.version + (not exists (
               select 1 from before b
                where b.status = excluded.status and b.metadata = excluded.metadata::text
                  and b.resolution_summary is not distinct from excluded.resolution_summary))::int
    returning version, {_COLUMNS}
), change as (
    insert into resolution_changes (resolution_id, version, tenant_id, subject_id, session_id, status,
                                    resolution_summary, resolved_at, metadata, changed_at)
    select id, version, %(tenant)s, subject_id, session_id, status, resolution_summary, resolved_at, metadata, %(now)s
      from written
    on conflict (resolution_id, version) do update set resolved_at = excluded.resolved_at
)
select {_COLUMNS} from written
"""

_LIST = f"""
select {_COLUMNS}
  from resolutions
 where tenant_id = %(tenant)s and subject_id = %(subject)s and (%(status)s::text is null or status = %(status)s)
 order by updated_at desc, id desc
 limit %(limit)s offset %(offset)s
"""

_CHANGES = """
select version, status, resolution_summary, resolved_at, changed_at
  from resolution_changes
 where tenant_id = %s and subject_id = %s and session_id = %s
 order by version
"""


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """How a session ended, with the field names of the wire."""

    id: UUID
    subject_id: str
    session_id: str
    status: str
    resolution_summary: str | None
    resolved_at: datetime | None
    metadata: msgspec.Raw
    created_at: datetime
    updated_at: datetime


class ResolutionChange(msgspec.Struct, frozen=True, kw_only=True):
    """One state that a resolution has had."""

    version: int
    status: str
    resolution_summary: str | None
    resolved_at: datetime | None
    changed_at: datetime


def upsert(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    session_id: str,
    *,
    resolution_id: UUID,
    status: str,
    summary: str | None,
    metadata: bytes,
    resolved_at: datetime | None,
    now: datetime,
) -> Resolution:
    """Record how a session stands; what was recorded before goes into the history.

    A repetition that changes nothing but the time leaves no second entry there.

    Args:
        resolution_id: The id of a record that is new; one that is there keeps its own.
    """
    conn.execute(_TOUCH_SUBJECT, {"tenant": tenant_id, "subject": subject_id})
    with conn.cursor(row_factory=class_row(Resolution)) as cursor:
        row = cursor.execute(
            _UPSERT,
            {
                "id": resolution_id,
                "tenant": tenant_id,
                "subject": subject_id,
                "session": session_id,
                "status": status,
                "summary": summary,
                "metadata": metadata.decode(),
                "resolved_at": resolved_at,
                "now": now,
            },
        ).fetchone()
    assert row is not None
    return row


def list_resolutions(
    conn: Connection, tenant_id: str, subject_id: str, *, status: str | None = None, limit: int, offset: int = 0
) -> list[Resolution]:
    """One page, newest update first. Index: resolutions_newest."""
    with conn.cursor(row_factory=class_row(Resolution)) as cursor:
        return cursor.execute(
            _LIST,
            {"tenant": tenant_id, "subject": subject_id, "status": status, "limit": limit, "offset": offset},
        ).fetchall()


def changes(conn: Connection, tenant_id: str, subject_id: str, session_id: str) -> Sequence[ResolutionChange]:
    """Every state a session's resolution has had, oldest first. Index: resolution_changes_session."""
    with conn.cursor(row_factory=class_row(ResolutionChange)) as cursor:
        return cursor.execute(_CHANGES, (tenant_id, subject_id, session_id)).fetchall()
