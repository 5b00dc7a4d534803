"""SQL of `audit_log`: what operators did. The table takes rows and gives none back: no update, no delete."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

_INSERT = """
insert into audit_log (id, actor, tenant_id, action, target, details, request_id)
values (%s, %s, %s, %s, %s, %s::json, %s)
"""


# Within a tenant's transaction the row can only be that tenant's.
_INSERT_IF_WRITING = """
insert into audit_log (id, actor, tenant_id, action, target, details, request_id)
select %s, %s, case current_user when 'statewave_app' then current_setting('app.tenant_id') else %s end, %s, %s,
       %s::json, %s
 where pg_current_xact_id_if_assigned() is not null
"""


# Indexes: the primary key, or audit_log_tenant, _actor or _action, each of which ends in the id.
_LIST = """
select id, at, actor, tenant_id, action, target, details, request_id
  from audit_log
 where (%(actor)s::text is null or actor = %(actor)s)
   and (%(action)s::text is null or action = %(action)s)
   and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
   and (%(since)s::timestamptz is null or at >= %(since)s)
   and (%(until)s::timestamptz is null or at < %(until)s)
   and (%(before)s::uuid is null or id < %(before)s)
 order by id desc
 limit %(limit)s
"""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator did."""

    id: UUID
    at: datetime
    actor: str
    tenant_id: str | None
    action: str
    target: str
    details: msgspec.Raw
    request_id: str | None


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; `until` itself is not included."""

    actor: str | None = None
    action: str | None = None
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_entries(conn: Connection, which: AuditFilter, *, before: UUID | None, limit: int) -> list[AuditEntry]:
    """Entries, the newest first, those older than `before`."""
    values = msgspec.structs.asdict(which) | {"before": before, "limit": limit}
    with conn.cursor(row_factory=class_row(AuditEntry)) as cursor:
        return cursor.execute(_LIST, values).fetchall()


def insert(
    conn: Connection,
    id: UUID,
    *,
    actor: str,
    tenant_id: str | None,
    action: str,
    target: str,
    details: bytes,
    request_id: str | None,
) -> None:
    """Append one row; `details` is a JSON object."""
    conn.execute(_INSERT, (id, actor, tenant_id, action, target, details.decode(), request_id))


def insert_if_writing(
    conn: Connection,
    id: UUID,
    *,
    actor: str,
    tenant_id: str | None,
    action: str,
    target: str,
    details: bytes,
    request_id: str | None,
) -> bool:
    """Append one row if the transaction has written or locked anything so far; whether it has."""
    values = (id, actor, tenant_id, action, target, details.decode(), request_id)
    return conn.execute(_INSERT_IF_WRITING, values).rowcount == 1
