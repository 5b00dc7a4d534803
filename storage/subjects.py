"""SQL of `subjects`, and the erasure of a subject from every table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg.rows import class_row

from storage import webhook_deliveries
from storage.rows import Subject
from storage.transactions import Connection

#: Prefixes of subjects that exist for the server's own use and are never listed.
HIDDEN_PREFIXES = ("_snapshot/", "_bootstrap_tmp/")

#: Every table with rows of a subject besides `subjects` itself, in the order in which they are erased.
#: tests/storage/test_erasure.py fails when a table with a subject_id column is missing here.
TABLES_OF_A_SUBJECT: tuple[LiteralString, ...] = (
    "webhook_subjects",
    "runs",
    "passage_vectors",
    "passage_blocks",
    "memories",
    "memory_versions",
    "episodes",
    "resolutions",
    "resolution_changes",
    "support_facts",
    "health_states",
    "provider_calls",
    "provider_usage_subjects",
    "resolution_versions",
    "subject_states",
    "passage_ends",
    # Behind memories and episodes, whose deletion writes it.
    "partial_erasures",
)

#: Tables that name a subject and outlive it: proof of what was delivered is kept (contract: governance §2.13).
TABLES_THAT_OUTLIVE = ("receipts",)

_LIST = """
select subject_id, episode_count, memory_count
  from subjects
 where tenant_id = %(tenant)s and not subject_id ^@ any(%(hidden)s)
   and (episode_count > 0 or memory_count > 0)
 order by subject_id
 limit %(limit)s offset %(offset)s
"""

_COUNT = """
select count(*) from subjects
 where tenant_id = %(tenant)s and not subject_id ^@ any(%(hidden)s) and (episode_count > 0 or memory_count > 0)
"""

_COMPILE_PROGRESS = """
select compiled_seq, episode_count - compiled_count as uncompiled, passage_count, speakers,
       coalesce(embedding_model, (select case when rolled_back_at is null then target_model else source_model end
                                    from embedding_changes order by id desc limit 1)) as embedding_model,
       coalesce((select array[source_model, target_model] from embedding_changes where state <> 'closed'),
                '{}') as changing_models,
       exists (select 1 from webhook_endpoints w where w.tenant_id = subjects.tenant_id and w.enabled) as has_webhooks
  from subjects where tenant_id = %s and subject_id = %s
"""

_PUBLISHED = """
update subjects
   set compiled_seq = greatest(compiled_seq, %(compiled_seq)s),
       compiled_count = compiled_count + %(episodes)s,
       memory_count = memory_count + %(memories)s,
       passage_count = passage_count + %(passages)s,
       embedding_model = coalesce(embedding_model, %(embedding_model)s),
       speakers = (select coalesce(array_agg(distinct name order by name), '{}')
                     from unnest(speakers || %(speakers)s::text[]) as name)
 where tenant_id = %(tenant)s and subject_id = %(subject)s
"""


class SubjectProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a subject is compiled; `uncompiled` counts the episodes that wait.

    `embedding_model` is what the subject is read with; None for a new one while no model was ever changed. While a
    change of the model is under way or may be taken back, `changing_models` are its two. `has_webhooks` says whether
    the tenant has webhook endpoints.
    """

    compiled_seq: int
    uncompiled: int
    passage_count: int
    speakers: list[str]
    embedding_model: str | None
    changing_models: list[str]
    has_webhooks: bool


class ErasedRows(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure deleted: rows by table, and the ids of episodes and memories, sorted, 16 bytes each."""

    erased_at: datetime
    counts: dict[str, int]
    episode_ids: bytes
    memory_ids: bytes


def list_subjects(conn: Connection, tenant_id: str, *, limit: int, offset: int) -> tuple[list[Subject], int]:
    """One page of subjects by id, and the number of all of them. Index: the primary key."""
    parameters = {
        "tenant": tenant_id,
        "hidden": list(HIDDEN_PREFIXES),
        "limit": limit,
        "offset": offset,
    }
    with conn.cursor(row_factory=class_row(Subject)) as cursor:
        page = cursor.execute(_LIST, parameters).fetchall()
    if offset == 0 and len(page) < limit:
        return page, len(page)
    total = conn.execute(_COUNT, parameters).fetchone()
    return page, total[0] if total else 0


def progress(conn: Connection, tenant_id: str, subject_id: str, *, lock: bool = False) -> SubjectProgress | None:
    """How far the subject is compiled; None when nothing is stored of it."""
    query = _COMPILE_PROGRESS + (" for update of subjects" if lock else "")
    with conn.cursor(row_factory=class_row(SubjectProgress)) as cursor:
        return cursor.execute(query, (tenant_id, subject_id)).fetchone()


def record_publication(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    compiled_seq: int,
    episodes: int,
    memories: int,
    passages: int,
    speakers: Sequence[str],
    embedding_model: str | None = None,
) -> None:
    """Move the compile watermark and the counters by what a compilation published.

    Args:
        embedding_model: what the subject is read with from now on, if it has had no vectors so far.
    """
    conn.execute(
        _PUBLISHED,
        {
            "tenant": tenant_id,
            "subject": subject_id,
            "compiled_seq": compiled_seq,
            "episodes": episodes,
            "memories": memories,
            "passages": passages,
            "speakers": list(speakers),
            "embedding_model": embedding_model,
        },
    )


def erase(conn: Connection, tenant_id: str, subject_id: str) -> ErasedRows:
    """Delete every row of the subject, in every table.

    Locking the subject first lets running appends and publications finish, and makes those that wait find nothing.
    Its runs are locked before what belongs to them is deleted, as workers do it.
    """
    subject = (tenant_id, subject_id)
    was_there = _lock(conn, subject)
    erased_at = conn.execute("select clock_timestamp()").fetchone()
    assert erased_at is not None
    webhook_deliveries.forget_subject(conn, tenant_id, subject_id)
    runs = [
        run_id
        for (run_id,) in conn.execute(
            "select id from runs where tenant_id = %s and subject_id = %s order by id for update", subject
        )
    ]
    counts = {
        "stage_outputs": conn.execute("delete from stage_outputs where run_id = any(%s)", (runs,)).rowcount,
        "webhook_deliveries": conn.execute("delete from webhook_deliveries where id = any(%s)", (runs,)).rowcount,
    }
    ids = {"episodes": b"", "memories": b""}
    for table in TABLES_OF_A_SUBJECT:
        # The memory trigger keeps versions on update only, so their deletion can follow in any order.
        if table in ids:
            counts[table], ids[table] = _delete_with_ids(conn, table, subject)
        else:
            counts[table] = conn.execute(
                f"delete from {table} where tenant_id = %s and subject_id = %s", subject
            ).rowcount
    # It was written by the deletions above.
    del counts["partial_erasures"]
    conn.execute("delete from subjects where tenant_id = %s and subject_id = %s", subject)
    counts["subjects"] = int(was_there)
    return ErasedRows(erased_at=erased_at[0], counts=counts, episode_ids=ids["episodes"], memory_ids=ids["memories"])


def _lock(conn: Connection, subject: tuple[str, str]) -> bool:
    """Lock the subject's row until the transaction ends, also one that nobody has written yet; whether it was there.

    Without a row to wait for, somebody could append between two of the deletions that follow, and be erased by half.
    """
    while True:
        row = conn.execute("select 1 from subjects where tenant_id = %s and subject_id = %s for update", subject)
        if row.rowcount:
            return True
        made = conn.execute(
            "insert into subjects (tenant_id, subject_id) values (%s, %s) on conflict do nothing", subject
        )
        if made.rowcount:
            return False


def _delete_with_ids(conn: Connection, table: LiteralString, subject: tuple[str, str]) -> tuple[int, bytes]:
    """Delete the subject's rows of a table; how many there were, and their ids, sorted, 16 bytes each."""
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(
            f"with gone as (delete from {table} where tenant_id = %s and subject_id = %s returning id)"
            " select count(*), coalesce(string_agg(uuid_send(id), ''::bytea order by id), ''::bytea) from gone",
            subject,
        ).fetchone()
    assert row is not None
    return int(row[0]), bytes(row[1])
