"""SQL of `tenant_configs`: what operators say about a tenant. Every read is a look-up by primary key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.transactions import Connection

#: Scalar subquery for statements that have a parameter `tenant` anyway: the tenant's document and its version as text,
#: or null. `pipelines.tenant_config.parse` reads it, so the configuration costs no round trip of its own.
CONFIG_SQL = """(
    select jsonb_build_object('version', tc.version, 'config', tc.config)::text
      from tenant_configs tc where tc.tenant_id = %(tenant)s)"""

_COLUMNS = "tenant_id, config, version, created_at, updated_at"

# One statement per case, each conditional on what the row is at that moment: of two writers who read the same version
# one finds no row to change.
_CREATE = f"""
insert into tenant_configs (tenant_id, config) values (%(tenant)s, %(changes)s)
on conflict (tenant_id) do nothing
returning {_COLUMNS}
"""
_CHANGE = f"""
update tenant_configs
   set config = (config || %(changes)s) - %(cleared)s::text[], version = version + 1, updated_at = now()
 where tenant_id = %(tenant)s and version = %(expected)s
returning {_COLUMNS}
"""
_CREATE_OR_CHANGE = f"""
insert into tenant_configs as stored (tenant_id, config) values (%(tenant)s, %(changes)s)
on conflict (tenant_id) do update
   set config = (stored.config || excluded.config) - %(cleared)s::text[], version = stored.version + 1,
       updated_at = now()
returning {_COLUMNS}
"""


class TenantConfigRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's document as it is stored, keys that nobody knows any more included."""

    tenant_id: str
    config: dict[str, Any]
    version: int
    created_at: datetime | None
    updated_at: datetime | None


def config_text(conn: Connection, tenant_id: str) -> str | None:
    """The tenant's document in the form of `CONFIG_SQL`; None when there is none."""
    row = conn.execute(f"select {CONFIG_SQL}", {"tenant": tenant_id}).fetchone()
    return row[0] if row else None


def find(conn: Connection, tenant_id: str) -> TenantConfigRow | None:
    """The tenant's row."""
    with conn.cursor(row_factory=class_row(TenantConfigRow)) as cursor:
        return cursor.execute(f"select {_COLUMNS} from tenant_configs where tenant_id = %s", (tenant_id,)).fetchone()


def change(
    conn: Connection,
    tenant_id: str,
    changes: Mapping[str, Any],
    *,
    cleared: Sequence[str] = (),
    expected_version: int | None = None,
) -> TenantConfigRow | None:
    """Merge keys into the tenant's document and remove others, in one statement.

    Args:
        cleared: keys that go back to their defaults.
        expected_version: the version that the row must have; 0 when it must not exist, None when any will do.

    Returns:
        The row as it is now; None when it had another version.
    """
    statement = {None: _CREATE_OR_CHANGE, 0: _CREATE}.get(expected_version, _CHANGE)
    values = {
        "tenant": tenant_id,
        "changes": Jsonb(dict(changes)),
        "cleared": list(cleared),
        "expected": expected_version,
    }
    with conn.cursor(row_factory=class_row(TenantConfigRow)) as cursor:
        return cursor.execute(statement, values).fetchone()
