"""SQL of bringing superseded memories back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.memories import COLUMNS
from storage.rows import Memory
from storage.transactions import Connection

_FIND = """
select m.status, m.superseded_by, before.valid_to, before.state is not null as was_active
  from memories m
  left join lateral (
      select v.state, (v.state ->> 'valid_to')::timestamptz as valid_to from memory_versions v
       where v.memory_id = m.id and v.tenant_id = m.tenant_id and v.state ->> 'status' = 'active'
       order by v.known_to desc limit 1) before on true
 where m.id = %s and m.tenant_id = %s and m.subject_id = %s
   for update of m
"""

_RESTORE = f"""
update memories
   set status = 'active', valid_to = %(valid_to)s, superseded_by = null, updated_at = %(now)s,
       metadata = (metadata::jsonb - 'supersession' || jsonb_build_object('restored', %(record)s::jsonb))::json
 where id = %(id)s and tenant_id = %(tenant)s and status = 'superseded'
returning {COLUMNS}
"""


class Superseded(msgspec.Struct, frozen=True, kw_only=True):
    """How a memory stands, and until when it was to be valid when it was last active."""

    status: str
    superseded_by: UUID | None
    valid_to: datetime | None
    was_active: bool


def lock_superseded(conn: Connection, tenant_id: str, subject_id: str, memory_id: UUID) -> Superseded | None:
    """The memory, locked until the transaction ends. Indexes: both primary keys."""
    with conn.cursor(row_factory=class_row(Superseded)) as cursor:
        return cursor.execute(_FIND, (memory_id, tenant_id, subject_id)).fetchone()


def restore(
    conn: Connection, tenant_id: str, memory_id: UUID, *, valid_to: datetime | None, record: bytes, now: datetime
) -> Memory | None:
    """Make a superseded memory active again; its superseded state stays as a version."""
    parameters = {
        "id": memory_id,
        "tenant": tenant_id,
        "valid_to": valid_to,
        "record": record.decode(),
        "now": now,
    }
    with conn.cursor(row_factory=class_row(Memory)) as cursor:
        return cursor.execute(_RESTORE, parameters).fetchone()
