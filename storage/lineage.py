"""SQL of the operators' views into one subject: memories, episodes, what came of what, and one session in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.full_text import substring_pattern
from storage.rows import Episode
from storage.selection import ALL, IdFilter
from storage.transactions import Connection

_MEMORY = (
    "id, kind, content, summary, confidence, status, source_episode_ids, valid_from, valid_to, created_at,"
    " sensitivity_labels, suggested_labels"
)
_EPISODE = "id, subject_id, session_id, source, type, payload, metadata, provenance, occurred_at, created_at"

_MEMORIES = """
  from memories
 where tenant_id = %(tenant)s and subject_id = %(subject)s
   and (%(status)s::text is null or status = %(status)s)
   and (%(kind)s::text is null or kind = %(kind)s)
   and (%(search)s::text is null or content ilike %(search)s or summary ilike %(search)s)
   and (%(citing)s::uuid is null or %(citing)s = any(source_episode_ids)) {selection}
"""

_EPISODES = """
  from episodes
 where tenant_id = %(tenant)s and subject_id = %(subject)s
   and (%(session)s::text is null or session_id = %(session)s)
   and (%(type)s::text is null or type = %(type)s)
   and (%(search)s::text is null or body ilike %(search)s) {selection}
"""

#: The links are those that were stored when a memory was superseded, not guesses from kind and time.
_RELATED = """
with this as (
    select id, superseded_by, source_episode_ids from memories
     where tenant_id = %(tenant)s and subject_id = %(subject)s and id = %(memory)s
)
(select 'superseded_by' as relationship, m.id, m.kind, m.content, m.summary, m.confidence, m.status, m.created_at
   from this join memories m on m.id = this.superseded_by and m.tenant_id = %(tenant)s)
union all
(select 'supersedes', m.id, m.kind, m.content, m.summary, m.confidence, m.status, m.created_at
   from memories m, this
  where m.tenant_id = %(tenant)s and m.subject_id = %(subject)s and m.superseded_by = this.id
  order by m.updated_at desc, m.id desc limit %(superseded)s)
union all
(select 'sibling', m.id, m.kind, m.content, m.summary, m.confidence, m.status, m.created_at
   from memories m, this
  where m.tenant_id = %(tenant)s and m.subject_id = %(subject)s and m.id <> this.id
    and m.source_episode_ids && this.source_episode_ids
    and m.superseded_by is distinct from this.id and this.superseded_by is distinct from m.id
  order by m.created_at desc, m.id desc limit %(siblings)s)
"""

_SESSION = f"""
select {_EPISODE}, coalesce(event_at, occurred_at) as event_at,
       case when signals & 1 <> 0 then coalesce(user_at, event_at, occurred_at) end as user_at,
       case when signals & 2 <> 0 then coalesce(agent_at, array[coalesce(event_at, occurred_at)]) end as agent_at
  from episodes
 where tenant_id = %(tenant)s and subject_id = %(subject)s and session_id = %(session)s {{selection}}
 order by coalesce(event_at, occurred_at), seq
 limit %(limit)s
"""

_CITATIONS = """
select cited, count(*)
  from memories, unnest(source_episode_ids) as cited
 where tenant_id = %(tenant)s and subject_id = %(subject)s and source_episode_ids && %(ids)s::uuid[]
   and cited = any(%(ids)s::uuid[])
 group by cited
"""


class MemoryView(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as an operator sees it."""

    id: UUID
    kind: str
    content: str
    summary: str
    confidence: float
    status: str
    source_episode_ids: list[UUID]
    valid_from: datetime
    valid_to: datetime | None
    created_at: datetime
    sensitivity_labels: list[str]
    suggested_labels: list[str]


class RelatedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that has to do with another: it `supersedes` or is `superseded_by` it, or is its `sibling`."""

    id: UUID
    kind: str
    content: str
    summary: str
    confidence: float
    status: str
    created_at: datetime
    relationship: str


class SessionEpisode(Episode, frozen=True, kw_only=True):
    """An episode of a session, with when it happened and when each side speaks in it."""

    event_at: datetime
    user_at: datetime | None
    agent_at: list[datetime] | None


def memory_views(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    status: str | None = None,
    kind: str | None = None,
    search: str | None = None,
    citing: UUID | None = None,
    limit: int,
    offset: int = 0,
    selection: IdFilter = ALL,
) -> tuple[list[MemoryView], int]:
    """One page of memories, newest first, and how many match. Index: memories_timeline.

    Args:
        citing: An episode that they must have been taken from.
        selection: The memories that may be seen.
    """
    parameters = {
        "tenant": tenant_id,
        "subject": subject_id,
        "status": status,
        "kind": kind,
        "search": substring_pattern(search) if search else None,
        "citing": citing,
        "limit": limit,
        "offset": offset,
        **selection.parameters("selected"),
    }
    matching = _MEMORIES.format(selection=selection.condition("id", "selected"))
    with conn.cursor(row_factory=class_row(MemoryView)) as cursor:
        statement = f"select {_MEMORY} {matching} order by created_at desc, id desc limit %(limit)s offset %(offset)s"
        page = cursor.execute(statement, parameters).fetchall()
    return page, _total(conn, matching, parameters, page)


def episode_views(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    session_id: str | None = None,
    type: str | None = None,
    search: str | None = None,
    limit: int,
    offset: int = 0,
    selection: IdFilter = ALL,
) -> tuple[list[Episode], int]:
    """One page of episodes, newest first, and how many match. Indexes: episodes_timeline, episodes_session."""
    parameters = {
        "tenant": tenant_id,
        "subject": subject_id,
        "session": session_id,
        "type": type,
        "search": substring_pattern(search) if search else None,
        "limit": limit,
        "offset": offset,
        **selection.parameters("selected"),
    }
    matching = _EPISODES.format(selection=selection.condition("id", "selected"))
    with conn.cursor(row_factory=class_row(Episode)) as cursor:
        page = cursor.execute(
            f"select {_EPISODE} {matching}"
            " order by occurred_at desc, created_at desc, id desc limit %(limit)s offset %(offset)s",
            parameters,
        ).fetchall()
    return page, _total(conn, matching, parameters, page)


def find_memory(conn: Connection, tenant_id: str, subject_id: str, memory_id: UUID) -> MemoryView | None:
    """One memory of the subject. Index: the primary key."""
    with conn.cursor(row_factory=class_row(MemoryView)) as cursor:
        return cursor.execute(
            f"select {_MEMORY} from memories where tenant_id = %s and subject_id = %s and id = %s",
            (tenant_id, subject_id, memory_id),
        ).fetchone()


def related_memories(
    conn: Connection, tenant_id: str, subject_id: str, memory_id: UUID, *, superseded: int, siblings: int
) -> list[RelatedMemory]:
    """What superseded the memory, the newest of what it superseded, and of what shares a source with it."""
    with conn.cursor(row_factory=class_row(RelatedMemory)) as cursor:
        return cursor.execute(
            _RELATED,
            {
                "tenant": tenant_id,
                "subject": subject_id,
                "memory": memory_id,
                "superseded": superseded,
                "siblings": siblings,
            },
        ).fetchall()


def session_episodes(
    conn: Connection, tenant_id: str, subject_id: str, session_id: str, *, limit: int, selection: IdFilter = ALL
) -> Sequence[SessionEpisode]:
    """The first episodes of a session in the order in which they happened. Index: episodes_session."""
    with conn.cursor(row_factory=class_row(SessionEpisode)) as cursor:
        return cursor.execute(
            _SESSION.format(selection=selection.condition("id", "selected")),
            {
                **selection.parameters("selected"),
                "tenant": tenant_id,
                "subject": subject_id,
                "session": session_id,
                "limit": limit,
            },
        ).fetchall()


def citation_counts(
    conn: Connection, tenant_id: str, subject_id: str, episode_ids: Sequence[UUID]
) -> Mapping[UUID, int]:
    """How many memories were taken from each episode; those without any are missing."""
    rows = conn.execute(_CITATIONS, {"tenant": tenant_id, "subject": subject_id, "ids": list(episode_ids)}).fetchall()
    return dict(rows)


def _total(conn: Connection, matching: str, parameters: Mapping[str, object], page: Sequence[object]) -> int:
    if parameters["offset"] == 0 and len(page) < int(str(parameters["limit"])):
        return len(page)
    row = conn.execute(f"select count(*) {matching}", parameters).fetchone()
    return row[0] if row else 0
