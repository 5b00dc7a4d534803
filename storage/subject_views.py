"""SQL of the operators' list of subjects, with their health and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, LiteralString

import msgspec
from psycopg.rows import class_row

from storage.full_text import substring_pattern
from storage.subjects import HIDDEN_PREFIXES
from storage.transactions import Connection

SortKey = Literal["subject_id", "last_activity", "episode_count", "memory_count"]

_SORT: dict[str, LiteralString] = {
    "subject_id": "s.subject_id",
    "last_activity": "s.last_episode_at",
    "episode_count": "s.episode_count",
    "memory_count": "s.memory_count",
}

_MATCHING = """
  from subjects s
  left join health_states h on h.tenant_id = s.tenant_id and h.subject_id = s.subject_id
 where (%(tenant)s::text is null or s.tenant_id = %(tenant)s)
   and not s.subject_id ^@ any(%(hidden)s) and (s.episode_count > 0 or s.memory_count > 0)
   and (%(search)s::text is null or s.subject_id ilike %(search)s)
   and (%(health)s::text is null or coalesce(h.state, 'unknown') = %(health)s)
   and (%(open)s::boolean is null or %(open)s = exists (
       select 1 from resolutions r
        where r.tenant_id = s.tenant_id and r.subject_id = s.subject_id and r.status = 'open'))
"""

#: Sessions are counted for the page alone, hopping from one to the next along the index of sessions.
_PAGE = """
with page as (
    select s.tenant_id, s.subject_id, s.episode_count, s.memory_count, s.last_episode_at, s.created_at,
           h.state as health_state, h.score as health_score,
           row_number() over (order by {sort} {direction} nulls last, s.subject_id, s.tenant_id) as place
    {matching}
     order by place
     limit %(limit)s offset %(offset)s
)
select tenant_id, subject_id, episode_count, memory_count, last_episode_at, created_at, health_state, health_score,
       (with recursive hop as (
            (select e.session_id from episodes e
              where e.tenant_id = page.tenant_id and e.subject_id = page.subject_id and e.session_id is not null
              order by e.session_id limit 1)
            union all
            select (select e.session_id from episodes e
                     where e.tenant_id = page.tenant_id and e.subject_id = page.subject_id
                       and e.session_id > hop.session_id
                     order by e.session_id limit 1)
              from hop where hop.session_id is not null)
        select count(session_id) from hop) as session_count,
       (select count(*) from resolutions r
         where r.tenant_id = page.tenant_id and r.subject_id = page.subject_id and r.status = 'open') as open_sessions
  from page
 order by place
"""


class SubjectView(msgspec.Struct, frozen=True, kw_only=True):
    """One subject as an operator sees it. Health is the last that was worked out; null if it never was."""

    tenant_id: str
    subject_id: str
    episode_count: int
    memory_count: int
    session_count: int
    last_episode_at: datetime | None
    created_at: datetime
    health_state: str | None
    health_score: int | None
    open_sessions: int


def list_subject_views(
    conn: Connection,
    *,
    tenant_id: str | None,
    search: str | None = None,
    health_state: str | None = None,
    has_open_sessions: bool | None = None,
    sort_by: SortKey = "subject_id",
    descending: bool = False,
    limit: int,
    offset: int = 0,
) -> tuple[Sequence[SubjectView], int]:
    """One page of the subjects that match, and how many do. Without a tenant those of all tenants."""
    parameters = {
        "tenant": tenant_id,
        "hidden": list(HIDDEN_PREFIXES),
        "search": substring_pattern(search) if search else None,
        "health": health_state,
        "open": has_open_sessions,
        "limit": limit,
        "offset": offset,
    }
    statement = _PAGE.format(sort=_SORT[sort_by], direction="desc" if descending else "asc", matching=_MATCHING)
    with conn.cursor(row_factory=class_row(SubjectView)) as cursor:
        page = cursor.execute(statement, parameters).fetchall()
    if offset == 0 and len(page) < limit:
        return page, len(page)
    total = conn.execute("select count(*)" + _MATCHING, parameters).fetchone()
    return page, total[0] if total else 0


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What the subject's own row says."""

    episode_count: int
    memory_count: int
    created_at: datetime
    last_episode_at: datetime | None


def find_counters(conn: Connection, tenant_id: str, subject_id: str) -> Counters | None:
    """The subject's counters; None for an unknown one. Index: the primary key."""
    with conn.cursor(row_factory=class_row(Counters)) as cursor:
        return cursor.execute(
            "select episode_count, memory_count, created_at, last_episode_at from subjects"
            " where tenant_id = %s and subject_id = %s",
            (tenant_id, subject_id),
        ).fetchone()


def find_tenants(conn: Connection, subject_id: str, *, limit: int = 2) -> list[str]:
    """Tenants that have a subject of this id."""
    rows = conn.execute(
        "select tenant_id from subjects where subject_id = %s order by tenant_id limit %s", (subject_id, limit)
    ).fetchall()
    return [tenant_id for (tenant_id,) in rows]
