"""SQL of the labels on `memories`. Every change leaves the former state in `memory_versions` (trigger of 0001).

Statements take a tenant or None, which means all tenants and needs an operator's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.rows import Memory
from storage.transactions import Connection

_COLUMNS = (
    "tenant_id, suggested_labels, id, subject_id, kind, content, summary, confidence, valid_from, valid_to,"
    " source_episode_ids, metadata, status, sensitivity_labels, created_at, updated_at"
)

_SUGGESTED = """
  from memories
 where suggested_labels <> '{}' and status = 'active'
   and (%(tenant)s::text is null or tenant_id = %(tenant)s)
   and (%(subject)s::text is null or subject_id = %(subject)s)
   and (%(labels)s::text[] is null or suggested_labels && %(labels)s)
   and (%(kind)s::text is null or kind = %(kind)s)
   and (%(before)s::timestamptz is null or created_at < %(before)s)
"""

_WRITE = f"""
update memories
   set sensitivity_labels = %(labels)s, suggested_labels = %(suggested)s, updated_at = %(now)s,
       metadata = case when %(promotion)s::jsonb is null then metadata
         else (metadata::jsonb || jsonb_build_object('label_promotions',
           case when jsonb_typeof(metadata::jsonb -> 'label_promotions') = 'array'
                then metadata::jsonb -> 'label_promotions' else '[]'::jsonb end
           || jsonb_build_array(%(promotion)s::jsonb)))::json end
 where tenant_id = %(tenant)s and id = %(id)s
returning {_COLUMNS}
"""

#: Of the suggested labels those that are named leave; with `promote` they become authoritative.
_SETTLE = f"""
with chosen as (select id as chosen_id {_SUGGESTED} for update)
update memories m
   set suggested_labels = array(select unnest(m.suggested_labels) except select unnest(%(labels)s::text[]) order by 1),
       sensitivity_labels = case when %(promote)s then array(
           select unnest(m.sensitivity_labels) union
           (select unnest(m.suggested_labels) intersect select unnest(%(labels)s::text[])) order by 1)
         else m.sensitivity_labels end,
       metadata = case when %(promote)s then (m.metadata::jsonb || jsonb_build_object('label_promotions',
           case when jsonb_typeof(m.metadata::jsonb -> 'label_promotions') = 'array'
                then m.metadata::jsonb -> 'label_promotions' else '[]'::jsonb end
           || jsonb_build_array(%(promotion)s::jsonb || jsonb_build_object('labels', array(
                select unnest(m.suggested_labels) intersect select unnest(%(labels)s::text[]) order by 1)))))::json
         else m.metadata end,
       updated_at = %(now)s
  from chosen
 where m.id = chosen_id
returning m.tenant_id, m.id
"""


class LabelledRow(Memory, frozen=True, kw_only=True):
    """A memory with its tenant and its suggestions."""

    tenant_id: str
    suggested_labels: list[str]


class SuggestionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which memories with suggestions are meant; None leaves a condition out."""

    tenant_id: str | None = None
    subject_id: str | None = None
    labels: Sequence[str] | None = None
    kind: str | None = None
    created_before: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """What the statements refer to."""
        return {
            "tenant": self.tenant_id,
            "subject": self.subject_id,
            "labels": list(self.labels) if self.labels is not None else None,
            "kind": self.kind,
            "before": self.created_before,
        }


def lock_memory(conn: Connection, tenant_id: str | None, memory_id: UUID) -> LabelledRow | None:
    """A memory by its id, held until the transaction ends. Index: the primary key."""
    with conn.cursor(row_factory=class_row(LabelledRow)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from memories where id = %(id)s"
            " and (%(tenant)s::text is null or tenant_id = %(tenant)s) for update",
            {"id": memory_id, "tenant": tenant_id},
        ).fetchone()


def write_labels(
    conn: Connection,
    memory: LabelledRow,
    *,
    labels: Sequence[str],
    suggested: Sequence[str],
    promotion: dict[str, Any] | None = None,
    now: datetime,
) -> LabelledRow:
    """Give a locked memory its labels. A promotion is kept in the list `label_promotions` of its metadata."""
    with conn.cursor(row_factory=class_row(LabelledRow)) as cursor:
        row = cursor.execute(
            _WRITE,
            {
                "labels": list(labels),
                "suggested": list(suggested),
                "promotion": Jsonb(promotion) if promotion is not None else None,
                "now": now,
                "tenant": memory.tenant_id,
                "id": memory.id,
            },
        ).fetchone()
    assert row is not None, "the row is locked"
    return row


def suggested(conn: Connection, wanted: SuggestionFilter, *, limit: int, offset: int) -> tuple[list[LabelledRow], int]:
    """One page of active memories with suggestions, newest first, and how many match.

    Indexes: memories_suggested, memories_suggested_anywhere.
    """
    parameters = {**wanted.parameters(), "limit": limit, "offset": offset}
    with conn.cursor(row_factory=class_row(LabelledRow)) as cursor:
        page = cursor.execute(
            f"select {_COLUMNS} {_SUGGESTED} order by created_at desc, id desc limit %(limit)s offset %(offset)s",
            parameters,
        ).fetchall()
    if offset == 0 and len(page) < limit:
        return page, len(page)
    return page, count_suggested(conn, wanted)


def count_suggested(conn: Connection, wanted: SuggestionFilter) -> int:
    """How many active memories with suggestions match. Indexes: as above."""
    row = conn.execute(f"select count(*) {_SUGGESTED}", wanted.parameters()).fetchone()
    return row[0] if row else 0


def settle_suggestions(
    conn: Connection, wanted: SuggestionFilter, *, promotion: dict[str, Any] | None, now: datetime
) -> list[tuple[str, UUID]]:
    """Promote the named labels of all that match, or dismiss them when there is no promotion to write down.

    Returns:
        Tenant and id of every memory that changed.
    """
    return conn.execute(
        _SETTLE,
        {
            **wanted.parameters(),
            "promote": promotion is not None,
            "promotion": Jsonb(promotion or {}),
            "now": now,
        },
    ).fetchall()
