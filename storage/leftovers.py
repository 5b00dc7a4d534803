"""What remains of something erased, in whichever tables there are.

Tables and columns come from the catalogue, so a table that is added later is swept without a word here. A row remains
when it belongs to the subject, or when one of its ids is an erased one. A subject that has begun anew since is told
from the erased one by the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg import sql

from storage.passage_erasure import count_passages, erase_passages
from storage.subjects import TABLES_THAT_OUTLIVE
from storage.transactions import Connection

#: What stays after an erasure on purpose; docs/erasure.md says why.
TABLES_NOT_SWEPT = frozenset(
    {*TABLES_THAT_OUTLIVE, "audit_log", "erasures", "erased_items", "receipt_tombstones", "receipt_chains"}
)

#: Rows of tables that are swept and stay nevertheless: the message that tells subscribers of the erasure itself.
_ROWS_KEPT = {"webhook_deliveries": "event <> 'subject.deleted'"}

_TABLES = """
select c.relname,
       array_agg(a.attname::text || ' ' || format_type(a.atttypid, null) order by a.attnum)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
 group by c.relname
having bool_or(a.attname = 'tenant_id')
 order by c.relname
"""

#: A document in which the subject's name is a value.
_NAMES_SUBJECT = "jsonb_path_exists({}::jsonb, '$.** ? (@ == $name)', jsonb_build_object('name', %(subject)s::text))"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table with rows of tenants, and its columns that may name a subject, an episode or a memory."""

    name: str
    has_subject: bool
    has_time: bool
    uuids: list[str]
    uuid_lists: list[str]
    documents: list[str]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased: a subject as a whole, or some of its memories and episodes."""

    tenant_id: str
    subject_id: str
    erased_at: datetime
    ids: Sequence[UUID]
    whole_subject: bool


def tables(conn: Connection) -> list[Table]:
    """Every table that may hold rows of a tenant, except those that are kept."""
    found = []
    for name, described in conn.execute(_TABLES).fetchall():
        columns = dict(column.split(" ", 1) for column in described)
        found.append(
            Table(
                name=name,
                has_subject="subject_id" in columns,
                has_time=columns.get("created_at") == "timestamp with time zone",
                uuids=[column for column, kind in columns.items() if kind == "uuid"],
                uuid_lists=[column for column, kind in columns.items() if kind == "uuid[]"],
                documents=[column for column, kind in columns.items() if kind in ("json", "jsonb")],
            )
        )
    return [table for table in found if table.name not in TABLES_NOT_SWEPT]


def lives_again(conn: Connection, target: Target) -> bool:
    """Whether there is a subject of this name now. Index: the primary key."""
    return (
        conn.execute(
            "select 1 from subjects where tenant_id = %s and subject_id = %s", (target.tenant_id, target.subject_id)
        ).fetchone()
        is not None
    )


def count(conn: Connection, table: Table, target: Target, *, alive: bool) -> int:
    """Rows of the table that remain. For passages: those in the subject's blocks."""
    if table.name == "passage_blocks" and alive:
        return count_passages(conn, target.tenant_id, target.subject_id, target.ids) if target.ids else 0
    condition = _condition(table, target, alive=alive)
    if condition is None:
        return 0
    statement = sql.SQL("select count(*) from {} where ").format(sql.Identifier(table.name)) + condition
    row = conn.execute(statement, _parameters(target)).fetchone()
    return int(row[0]) if row else 0


def remove(conn: Connection, table: Table, target: Target, *, alive: bool) -> int:
    """Delete the rows that remain in a table with subjects; how many there were."""
    if not table.has_subject:
        return 0
    if table.name == "passage_blocks" and alive:
        return erase_passages(conn, target.tenant_id, target.subject_id, target.ids)
    condition = _condition(table, target, alive=alive)
    if condition is None:
        return 0
    statement = sql.SQL("delete from {} where ").format(sql.Identifier(table.name)) + condition
    return conn.execute(statement, _parameters(target)).rowcount


def _condition(table: Table, target: Target, *, alive: bool) -> sql.Composable | None:
    """What a row that remains is known by; None when nothing in the table could tell."""
    by_id = _by_id(table) if target.ids else []
    if table.has_subject:
        of_subject = sql.SQL("tenant_id = %(tenant)s and subject_id = %(subject)s")
        if alive:
            return of_subject + sql.SQL(" and (") + sql.SQL(" or ").join(by_id) + sql.SQL(")") if by_id else None
        # Work that somebody asked for since then is none of the erased subject's.
        return of_subject + sql.SQL(" and created_at <= %(erased_at)s") if table.has_time else of_subject
    if target.whole_subject and not alive:
        by_id += [sql.SQL(_NAMES_SUBJECT).format(sql.Identifier(column)) for column in table.documents]
    if not by_id:
        return None
    condition = sql.SQL("tenant_id = %(tenant)s and (") + sql.SQL(" or ").join(by_id) + sql.SQL(")")
    kept = _ROWS_KEPT.get(table.name)
    return condition + sql.SQL(f" and {kept}") if kept else condition


def _by_id(table: Table) -> list[sql.Composable]:
    return [
        *(sql.SQL("{} = any(%(ids)s)").format(sql.Identifier(column)) for column in table.uuids),
        *(sql.SQL("{} && %(ids)s").format(sql.Identifier(column)) for column in table.uuid_lists),
    ]


def _parameters(target: Target) -> dict[str, object]:
    return {
        "tenant": target.tenant_id,
        "subject": target.subject_id,
        "erased_at": target.erased_at,
        "ids": list(target.ids),
    }
