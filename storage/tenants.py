"""SQL over all tenants, for operators."""

from __future__ import annotations

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

# Hops from one tenant to the next along the primary key of subjects: the number of subjects does not matter.
_LIST = """
with recursive hop as (
    (select tenant_id from subjects where tenant_id > '' order by tenant_id limit 1)
    union all
    select (select s.tenant_id from subjects s where s.tenant_id > hop.tenant_id order by s.tenant_id limit 1)
      from hop where hop.tenant_id is not null)
select tenant_id from hop where tenant_id is not null
union
select tenant_id from tenant_configs where tenant_id > ''
order by 1
"""

# Indexes: the primary key of subjects, runs_subject.
_WITHOUT = """
select coalesce(sum(episode_count), 0)::bigint as episodes, coalesce(sum(memory_count), 0)::bigint as memories,
       (select count(*) from runs where tenant_id = '' and kind = 'compile') as compile_jobs
  from subjects where tenant_id = ''
"""


class RowsWithoutTenant(msgspec.Struct, frozen=True, kw_only=True):
    """What was written without naming a tenant."""

    episodes: int
    memories: int
    compile_jobs: int


def list_ids(conn: Connection) -> list[str]:
    """Tenants that have a subject or a configuration, by id, the default tenant apart."""
    return [tenant_id for (tenant_id,) in conn.execute(_LIST).fetchall()]


def rows_without_tenant(conn: Connection) -> RowsWithoutTenant:
    """How much the default tenant has."""
    with conn.cursor(row_factory=class_row(RowsWithoutTenant)) as cursor:
        found = cursor.execute(_WITHOUT).fetchone()
    assert found is not None
    return found
