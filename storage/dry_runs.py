"""SQL of dry runs: the active memories of a subject or a tenant with their labels, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

#: Characters of a memory that a dry run shows.
PREVIEW_CHARS = 200

_MEMORY = f"id, subject_id, kind, left(content, {PREVIEW_CHARS}) as preview, sensitivity_labels as labels"

_OF_TENANT = """
  from memories
 where tenant_id = %(tenant)s and status = 'active' and (%(after)s::uuid is null or id > %(after)s)
"""


class PreviewedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """An active memory with its labels and the beginning of its text."""

    id: UUID
    subject_id: str
    kind: str
    preview: str
    labels: list[str]


def memories_of_subject(
    conn: Connection, tenant_id: str, subject_id: str, *, limit: int, offset: int
) -> tuple[list[PreviewedMemory], int]:
    """One page of active memories, newest first, and how many there are. Index: memories_timeline."""
    condition = "from memories where tenant_id = %(tenant)s and subject_id = %(subject)s and status = 'active'"
    parameters = {"tenant": tenant_id, "subject": subject_id, "limit": limit, "offset": offset}
    with conn.cursor(row_factory=class_row(PreviewedMemory)) as cursor:
        page = cursor.execute(
            f"select {_MEMORY} {condition} order by created_at desc, id desc limit %(limit)s offset %(offset)s",
            parameters,
        ).fetchall()
    total = conn.execute(f"select count(*) {condition}", parameters).fetchone()
    return page, total[0] if total else 0


def label_sets(conn: Connection, tenant_id: str) -> list[tuple[list[str], int]]:
    """Every set of labels that active memories of the tenant have, with how many have it. Index: memories_of_tenant."""
    return conn.execute(
        "select sensitivity_labels, count(*) from memories where tenant_id = %s and status = 'active' group by 1",
        (tenant_id,),
    ).fetchall()


def memories_labelled(
    conn: Connection, tenant_id: str, label_sets: Sequence[Sequence[str]], *, after: UUID | None, limit: int
) -> list[PreviewedMemory]:
    """Active memories of the tenant that have exactly one of the sets of labels, in the order of their ids.

    Indexes: memories_of_tenant; memories_labelled where no set is empty.
    """
    # Arrays of different lengths have no common SQL type; their text does.
    parameters: dict[str, Any] = {
        "tenant": tenant_id,
        "after": after,
        "limit": limit,
        "sets": msgspec.json.encode([list(labels) for labels in label_sets]).decode(),
    }
    labelled_only = "and sensitivity_labels <> '{}'" if all(label_sets) else ""
    with conn.cursor(row_factory=class_row(PreviewedMemory)) as cursor:
        return cursor.execute(
            f"select {_MEMORY} {_OF_TENANT} {labelled_only}"
            " and to_jsonb(sensitivity_labels) in (select jsonb_array_elements(%(sets)s::jsonb))"
            " order by id limit %(limit)s",
            parameters,
        ).fetchall()
