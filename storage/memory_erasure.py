"""SQL that erases memories one by one, with or without the episodes they were taken from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from storage.passage_erasure import erase_passages
from storage.transactions import Connection

_FIND = "select tenant_id, subject_id, source_episode_ids from memories where id = %s"

#: Memories that name one of these in their metadata were made from it.
_MADE_FROM = """
select id from memories
 where tenant_id = %(tenant)s and subject_id = %(subject)s and not id = any(%(ids)s)
   and exists (select 1 from unnest(%(ids)s::uuid[]) as wanted
                where jsonb_path_exists(metadata::jsonb, '$.** ? (@ == $id)', jsonb_build_object('id', wanted)))
"""

_CITING = """
select id from memories
 where tenant_id = %(tenant)s and subject_id = %(subject)s and source_episode_ids && %(episodes)s::uuid[]
"""

#: Drafts of episodes that are not there any more must not be published: the run begins its batch again.
_RESTART_RUNS = """
update runs
   set fence = fence + 1, stage = 'compile', lease_until = null, woken_at = null, ready_at = now(),
       attempts = greatest(attempts - 1, 0)
 where tenant_id = %(tenant)s and subject_id = %(subject)s and kind = 'compile' and state in ('pending', 'running')
   and (stage <> 'compile' or state = 'running')
"""

_SPEAKERS = """
update subjects s
   set speakers = (select coalesce(array_agg(name order by place), '{}')
                     from unnest(s.speakers) with ordinality as n (name, place)
                    where exists (select 1 from episodes e
                                   where e.tenant_id = s.tenant_id and e.subject_id = s.subject_id
                                     and (position(lower(name) in lower(e.body)) > 0
                                          or position(lower(name) in lower(e.payload::text)) > 0
                                          or position(lower(name) in lower(e.metadata::text)) > 0
                                          or position(lower(name) in lower(e.source)) > 0)))
 where tenant_id = %(tenant)s and subject_id = %(subject)s and s.speakers <> '{}'
"""

_FORMER_SPEAKERS = """
update subject_states f
   set speakers = (select coalesce(array_agg(name order by place), '{}')
                     from unnest(f.speakers) with ordinality as n (name, place)
                    where name = any((select s.speakers from subjects s
                                       where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s)::text[]))
 where tenant_id = %(tenant)s and subject_id = %(subject)s and f.speakers is not null
"""


class MemoryPlace(NamedTuple):
    """Whose a memory is, and which episodes it was taken from."""

    tenant_id: str
    subject_id: str
    source_episode_ids: list[UUID]


def find_place(conn: Connection, memory_id: UUID) -> MemoryPlace | None:
    """Where a memory is, if the transaction may see it. Index: the primary key."""
    row = conn.execute(_FIND, (memory_id,)).fetchone()
    return MemoryPlace(*row) if row else None


def lock_subject(conn: Connection, tenant_id: str, subject_id: str) -> datetime | None:
    """Lock the subject and tell the time; None when there is none."""
    row = conn.execute(
        "select clock_timestamp() from subjects where tenant_id = %s and subject_id = %s for update",
        (tenant_id, subject_id),
    ).fetchone()
    return row[0] if row else None


def made_from(conn: Connection, tenant_id: str, subject_id: str, ids: Sequence[UUID]) -> list[UUID]:
    """Other memories of the subject whose metadata names one of these. Index: memories_timeline."""
    parameters = {"tenant": tenant_id, "subject": subject_id, "ids": list(ids)}
    return [row[0] for row in conn.execute(_MADE_FROM, parameters)]


def citing(conn: Connection, tenant_id: str, subject_id: str, episodes: Sequence[UUID]) -> list[UUID]:
    """Memories of the subject that were taken from one of the episodes. Index: memories_timeline."""
    parameters = {"tenant": tenant_id, "subject": subject_id, "episodes": list(episodes)}
    return [row[0] for row in conn.execute(_CITING, parameters)]


def erase_memories(conn: Connection, tenant_id: str, subject_id: str, ids: Sequence[UUID]) -> dict[str, int]:
    """Delete memories with their versions and passages, and every pointer to them.

    Returns:
        Rows by table; for `passage_blocks` the passages that were blanked.
    """
    parameters = {"tenant": tenant_id, "subject": subject_id, "ids": list(ids)}
    of_subject = "tenant_id = %(tenant)s and subject_id = %(subject)s"
    versions = conn.execute(
        f"delete from memory_versions where {of_subject} and memory_id = any(%(ids)s)", parameters
    ).rowcount
    deleted = conn.execute(f"delete from memories where {of_subject} and id = any(%(ids)s)", parameters).rowcount
    conn.execute(f"delete from passage_ends where {of_subject} and source_id = any(%(ids)s)", parameters)
    conn.execute(
        f"update memories set superseded_by = null where {of_subject} and superseded_by = any(%(ids)s)", parameters
    )
    conn.execute(
        f"update memory_versions set state = state || '{{\"superseded_by\": null}}' where {of_subject}"
        " and (state ->> 'superseded_by')::uuid = any(%(ids)s)",
        parameters,
    )
    conn.execute(f"update subjects set memory_count = memory_count - {deleted} where {of_subject}", parameters)
    return {
        "memories": deleted,
        "memory_versions": versions,
        "passage_blocks": erase_passages(conn, tenant_id, subject_id, ids),
    }


def erase_episodes(conn: Connection, tenant_id: str, subject_id: str, ids: Sequence[UUID]) -> dict[str, int]:
    """Delete episodes with their passages, dead letters and what was worked out of them; runs over them begin again.

    Returns:
        Rows by table.
    """
    parameters = {"tenant": tenant_id, "subject": subject_id, "ids": list(ids), "texts": [str(id) for id in ids]}
    of_subject = "tenant_id = %(tenant)s and subject_id = %(subject)s"
    conn.execute(_RESTART_RUNS, parameters)
    outputs = conn.execute(
        "delete from stage_outputs using runs where runs.id = run_id and runs.tenant_id = %(tenant)s"
        " and runs.subject_id = %(subject)s and runs.kind = 'compile'",
        parameters,
    ).rowcount
    dead = conn.execute(
        f"delete from runs where {of_subject} and kind = 'compile_episode'"
        " and params ->> 'episode_id' = any(%(texts)s)",
        parameters,
    ).rowcount
    webhooks = conn.execute(
        f"delete from runs where {of_subject} and kind = 'webhook' and id in ("
        " select id from webhook_deliveries where tenant_id = %(tenant)s and data ->> 'id' = any(%(texts)s))",
        parameters,
    ).rowcount
    gone = conn.execute(
        f"with gone as (delete from episodes where {of_subject} and id = any(%(ids)s) returning seq)"
        f" update subjects set episode_count = episode_count - (select count(*) from gone),"
        "   compiled_count = compiled_count - (select count(*) from gone where seq <= compiled_seq)"
        f" where {of_subject} returning (select count(*) from gone)",
        parameters,
    ).fetchone()
    facts = conn.execute(f"delete from support_facts where {of_subject}", parameters).rowcount
    conn.execute(f"delete from passage_ends where {of_subject} and source_id = any(%(ids)s)", parameters)
    conn.execute(_SPEAKERS, parameters)
    conn.execute(_FORMER_SPEAKERS, parameters)
    return {
        "episodes": gone[0] if gone else 0,
        "stage_outputs": outputs,
        "runs": dead + webhooks,
        "support_facts": facts,
        "passage_blocks": erase_passages(conn, tenant_id, subject_id, ids),
    }


def ids_of(conn: Connection, tenant_id: str, subject_id: str) -> tuple[list[UUID], list[UUID]]:
    """Ids of the subject's memories and of its episodes. Indexes: memories_timeline, episodes_timeline."""
    subject = (tenant_id, subject_id)
    memories = conn.execute("select id from memories where tenant_id = %s and subject_id = %s", subject).fetchall()
    episodes = conn.execute("select id from episodes where tenant_id = %s and subject_id = %s", subject).fetchall()
    return [id for (id,) in memories], [id for (id,) in episodes]
