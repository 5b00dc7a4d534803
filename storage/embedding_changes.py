"""SQL of `embedding_changes`: moving all subjects from one embedding model to another.

    filling ──last subject──▶ switched ──prune──▶ closed
       └──────────┬───────────────┘                 ▲
                  └──rollback──▶ rolled_back ──prune─┘

At most one change is not closed (unique index `embedding_changes_live`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.transactions import Connection

_COLUMNS = (
    "id, source_model, target_model, state, shards, shards_done, subjects_done, subjects_failed, passages_done,"
    " recall_before, recall_after, started_at, filled_at, rolled_back_at, closed_at"
)

_INSERT = f"""
insert into embedding_changes (id, source_model, target_model, state, shards)
values (%s, %s, %s, 'filling', %s)
on conflict ((true)) where state <> 'closed' do nothing
returning {_COLUMNS}
"""

# The shard keeps concurrent walkers apart; each goes through the primary key from its cursor on.
_NEXT_SUBJECTS = """
select tenant_id, subject_id from subjects
 where (tenant_id, subject_id) > (%(tenant)s, %(subject)s) and passage_count > 0
   and mod(hashtextextended(subject_id, 0), %(shards)s) in (%(shard)s, -%(shard)s)
 order by tenant_id, subject_id limit %(limit)s
"""

_SWITCH = """
update subjects s set embedding_model = %(model)s
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s
   and exists (select 1 from embedding_changes c
                where c.state in ('filling', 'switched') and c.target_model = %(model)s)
"""

# Rows are locked in the order in which ingest locks them.
_READ_AGAIN = """
with page as (
    select tenant_id, subject_id from subjects
     where (tenant_id, subject_id) > (%(tenant)s, %(subject)s)
     order by tenant_id, subject_id limit %(limit)s for update
), changed as (
    update subjects s set embedding_model = %(model)s from page
     where s.tenant_id = page.tenant_id and s.subject_id = page.subject_id and s.embedding_model = %(other)s
    returning 1
)
select tenant_id, subject_id, (select count(*) from changed) from page order by tenant_id desc, subject_id desc limit 1
"""

_PRUNE = """
with page as (
    select v.ctid from passage_vectors v
      join subjects s on s.tenant_id = v.tenant_id and s.subject_id = v.subject_id
     where v.model = %(model)s and s.embedding_model is distinct from v.model
     limit %(limit)s
)
delete from passage_vectors where ctid in (select ctid from page)
"""


class EmbeddingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the embedding model and how far it is. Counts are of subjects and passages moved so far."""

    id: UUID
    source_model: str
    target_model: str
    state: str
    shards: int
    shards_done: int
    subjects_done: int
    subjects_failed: int
    passages_done: int
    recall_before: dict[str, Any] | None
    recall_after: dict[str, Any] | None
    started_at: datetime
    filled_at: datetime | None
    rolled_back_at: datetime | None
    closed_at: datetime | None

    @property
    def unread_model(self) -> str:
        """What is kept for a rollback, or was made in vain."""
        return self.source_model if self.rolled_back_at is None else self.target_model


class ModelSubjects(msgspec.Struct, frozen=True, kw_only=True):
    """How many subjects are read with a model, and how many passages they hold. None: no vectors yet."""

    model: str | None
    subjects: int
    passages: int


def begin(conn: Connection, change_id: UUID, *, source: str, target: str, shards: int) -> EmbeddingChange | None:
    """Write down a new change; None while another one is not closed."""
    with conn.cursor(row_factory=class_row(EmbeddingChange)) as cursor:
        return cursor.execute(_INSERT, (change_id, source, target, shards)).fetchone()


def find(conn: Connection, change_id: UUID) -> EmbeddingChange | None:
    """The change with this id."""
    with conn.cursor(row_factory=class_row(EmbeddingChange)) as cursor:
        return cursor.execute(f"select {_COLUMNS} from embedding_changes where id = %s", (change_id,)).fetchone()


def newest(conn: Connection, *, limit: int = 1) -> list[EmbeddingChange]:
    """The last changes, newest first. Ids follow time. Index: the primary key."""
    query = f"select {_COLUMNS} from embedding_changes order by id desc limit %s"
    with conn.cursor(row_factory=class_row(EmbeddingChange)) as cursor:
        return cursor.execute(query, (limit,)).fetchall()


def problem_of(conn: Connection, change_id: UUID) -> str | None:
    """The error of a run of the change that has not got over it. Index: `runs_subject` (runs without a subject)."""
    row = conn.execute(
        "select error from runs where tenant_id = '' and subject_id is null and kind = 'embedding_change'"
        " and params ->> 'change_id' = %s and error is not null and state in ('pending', 'failed')"
        " order by id desc limit 1",
        (str(change_id),),
    ).fetchone()
    return row[0] if row else None


def subjects_by_model(conn: Connection) -> list[ModelSubjects]:
    """Subjects with passages per model they are read with. Reads all of `subjects`: for operators."""
    with conn.cursor(row_factory=class_row(ModelSubjects)) as cursor:
        return cursor.execute(
            "select embedding_model as model, count(*) as subjects, sum(passage_count)::bigint as passages"
            "  from subjects where passage_count > 0 group by embedding_model order by subjects desc, model"
        ).fetchall()


def next_subjects(
    conn: Connection, *, after: tuple[str, str], shard: int, shards: int, limit: int
) -> list[tuple[str, str]]:
    """(tenant, subject) of the following subjects of a shard that hold passages. Index: the primary key."""
    parameters = {"tenant": after[0], "subject": after[1], "shard": shard, "shards": shards, "limit": limit}
    return [(tenant, subject) for tenant, subject in conn.execute(_NEXT_SUBJECTS, parameters).fetchall()]


def subjects_not_read_with(conn: Connection, model: str, *, limit: int) -> list[tuple[str, str]]:
    """Subjects that hold passages and are read with another model. Reads all of `subjects`."""
    rows = conn.execute(
        "select tenant_id, subject_id from subjects where passage_count > 0 and embedding_model is distinct from %s"
        " order by tenant_id, subject_id limit %s",
        (model, limit),
    ).fetchall()
    return [(tenant, subject) for tenant, subject in rows]


def switch_subject(conn: Connection, tenant_id: str, subject_id: str, *, model: str) -> bool:
    """Have the subject read with the model from now on; False when the change to it was taken back meanwhile.

    Call it with the subject locked, after `passages.lacks_vectors` said no.
    """
    parameters = {"tenant": tenant_id, "subject": subject_id, "model": model}
    return conn.execute(_SWITCH, parameters).rowcount == 1


def note_progress(conn: Connection, change_id: UUID, *, subjects: int, passages: int, failed: int) -> None:
    """Add to what a change has moved."""
    conn.execute(
        "update embedding_changes set subjects_done = subjects_done + %s, passages_done = passages_done + %s,"
        " subjects_failed = subjects_failed + %s where id = %s",
        (subjects, passages, failed, change_id),
    )


def note_recall(conn: Connection, change_id: UUID, *, before: dict[str, Any] | None, after: Any = None) -> None:
    """Keep what a recall check found."""
    conn.execute(
        "update embedding_changes set recall_before = coalesce(%s, recall_before),"
        " recall_after = coalesce(%s, recall_after) where id = %s",
        (Jsonb(before) if before else None, Jsonb(after) if after else None, change_id),
    )


def shard_done(conn: Connection, change_id: UUID) -> bool:
    """Count a shard that has gone through all of its subjects; True for the last one."""
    row = conn.execute(
        "update embedding_changes set shards_done = shards_done + 1 where id = %s returning shards_done >= shards",
        (change_id,),
    ).fetchone()
    return bool(row and row[0])


def filled(conn: Connection, change_id: UUID) -> bool:
    """All subjects were moved; False when the change was taken back."""
    cursor = conn.execute(
        "update embedding_changes set state = 'switched', filled_at = coalesce(filled_at, now())"
        " where id = %s and state in ('filling', 'switched')",
        (change_id,),
    )
    return cursor.rowcount == 1


def roll_back(conn: Connection, change_id: UUID) -> bool:
    """Mark the change as taken back, which stops its fill; False when it is closed already."""
    cursor = conn.execute(
        "update embedding_changes set state = 'rolled_back', rolled_back_at = coalesce(rolled_back_at, now())"
        " where id = %s and state <> 'closed'",
        (change_id,),
    )
    return cursor.rowcount == 1


def read_again(
    conn: Connection, *, model: str, other: str, after: tuple[str, str], limit: int
) -> tuple[tuple[str, str] | None, int]:
    """Have the following subjects that are read with `other` read with `model` again.

    Returns:
        The last subject looked at, None at the end, and how many were changed.
    """
    parameters = {"tenant": after[0], "subject": after[1], "model": model, "other": other, "limit": limit}
    row = conn.execute(_READ_AGAIN, parameters).fetchone()
    return ((row[0], row[1]), row[2]) if row else (None, 0)


def prune(conn: Connection, model: str, *, limit: int) -> int:
    """Delete blocks of vectors of a model that their subjects are not read with; how many there were."""
    return conn.execute(_PRUNE, {"model": model, "limit": limit}).rowcount


def close(conn: Connection, change_id: UUID) -> None:
    """End a change: from now on new passages get the vectors of one model."""
    conn.execute(
        "update embedding_changes set state = 'closed', closed_at = now() where id = %s",
        (change_id,),
    )


def due_for_pruning(conn: Connection, *, kept: timedelta) -> Sequence[EmbeddingChange]:
    """Finished or undone changes whose other vectors were kept long enough."""
    query = (
        f"select {_COLUMNS} from embedding_changes"
        " where state in ('switched', 'rolled_back') and coalesce(rolled_back_at, filled_at) < now() - %s::interval"
    )
    with conn.cursor(row_factory=class_row(EmbeddingChange)) as cursor:
        return cursor.execute(query, (kept,)).fetchall()
