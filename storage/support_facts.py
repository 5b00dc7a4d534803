"""SQL of what support figures are worked out from: the sessions of a subject with their times and outcomes.

Reads `episodes`, `resolutions`; owns `support_facts`, which keeps the result as long as nothing has changed it. One
statement asks whether it holds; only when it does not a second one works it out again, in one pass over narrow columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg.rows import class_row

from storage.health_states import HealthState
from storage.history import Watermark
from storage.transactions import Connection

#: Newest episodes that health looks at (contract: core §7.1).
WINDOW_EPISODES = 200

#: Characters of an episode that are compared for repeated issues.
COMPARED_CHARS = 4000

_KEPT = """
select s.last_seq, s.resolution_version, f.facts, h.score, h.alert_state, h.version, h.next_check_at,
       s.created_at, s.passage_count, s.compiled_seq, pg_current_snapshot()::text
  from subjects s
  left join support_facts f
    on f.tenant_id = s.tenant_id and f.subject_id = s.subject_id and f.last_seq = s.last_seq
   and f.resolution_version = s.resolution_version
  left join health_states h on h.tenant_id = s.tenant_id and h.subject_id = s.subject_id
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s
"""

_SESSIONS = """
with e as materialized (
    select id, session_id, coalesce(event_at, occurred_at) as at, signals & 2 <> 0 as agent_speaks, agent_at,
           case when signals & 1 <> 0 then coalesce(user_at, event_at, occurred_at) end as user_at,
           signals & 4 <> 0 as escalates
      from episodes
     where tenant_id = %(tenant)s and subject_id = %(subject)s
), w as materialized (
    select newest.since, count(e.id) as escalations
      from (select min(at) as since from (select at from e order by at desc limit %(window)s) newest_first) newest
      left join e on e.escalates and e.at >= newest.since
     group by newest.since
), s as materialized (
    select session_id, count(*) as episodes, min(at) as first_at, max(at) as newest_at, min(user_at) as first_user_at
      from e where session_id is not null group by session_id
), a as (
    select e.session_id, min(reply) as first_agent_at
      from e join s using (session_id) cross join unnest(coalesce(e.agent_at, array[e.at])) as reply
     where e.agent_speaks and reply >= coalesce(s.first_user_at, '-infinity')
     group by e.session_id
), r as materialized (
    select session_id, id as resolution_id, status, resolved_at, resolution_summary as summary, updated_at
      from resolutions
     where tenant_id = %(tenant)s and subject_id = %(subject)s
), t as (
    select e.session_id, string_agg(left(full_episode.body, %(compared)s), E'\\n') as words
      from e
      join r using (session_id)
      join episodes full_episode on full_episode.id = e.id
     where r.status in ('open', 'resolved') and e.at >= (select since from w)
       and exists (select 1 from r where status = 'open') and exists (select 1 from r where status = 'resolved')
     group by e.session_id
)
select w.since, w.escalations,
       coalesce(s.session_id, r.session_id) as session_id, coalesce(s.episodes, 0) as episodes, s.first_at, s.newest_at,
       s.first_user_at, a.first_agent_at, r.resolution_id, r.status, r.resolved_at, r.summary, r.updated_at, t.words
  from w
  left join (s full join r using (session_id)) on true
  left join a on a.session_id = s.session_id
  left join t on t.session_id = s.session_id
 order by s.first_at, coalesce(s.session_id, r.session_id)
"""

_KEEP = """
insert into support_facts as f (tenant_id, subject_id, last_seq, resolution_version, facts)
select s.tenant_id, s.subject_id, %(last_seq)s, %(resolution_version)s, %(facts)s
  from subjects s
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s and s.created_at = %(began_at)s
   for key share
on conflict (tenant_id, subject_id) do update
   set last_seq = excluded.last_seq, resolution_version = excluded.resolution_version, facts = excluded.facts
 where f.last_seq <= excluded.last_seq and f.resolution_version <= excluded.resolution_version
"""


_FORGET_OUTDATED = """
delete from support_facts f
 using (select k.tenant_id, k.subject_id
          from support_facts k join subjects s using (tenant_id, subject_id)
         where (k.last_seq, k.resolution_version) is distinct from (s.last_seq, s.resolution_version)
         limit %s) outdated
 where f.tenant_id = outdated.tenant_id and f.subject_id = outdated.subject_id
"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a subject before anything is worked out. `facts` is None when it would be stale.

    `began_at` tells a subject from the one of the same name that was erased before it.
    """

    began_at: datetime
    last_seq: int
    resolution_version: int
    facts: bytes | None
    health: HealthState | None
    watermark: Watermark


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session with its times and its resolution, beside two figures of the whole subject.

    `session_id` is None in the single row of a subject that has neither sessions nor resolutions.
    """

    since: datetime | None
    escalations: int
    session_id: str | None
    episodes: int
    first_at: datetime | None
    newest_at: datetime | None
    first_user_at: datetime | None
    first_agent_at: datetime | None
    resolution_id: object
    status: str | None
    resolved_at: datetime | None
    summary: str | None
    updated_at: datetime | None
    words: str | None


def kept(conn: Connection, tenant_id: str, subject_id: str) -> Kept | None:
    """What was kept of the subject, and its last health; None for an unknown subject. Indexes: three primary keys."""
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(_KEPT, {"tenant": tenant_id, "subject": subject_id}).fetchone()
    if row is None:
        return None
    last_seq, resolution_version, facts, score, alert_state, version, next_check_at = row[:7]
    since, passages, compiled_seq, snapshot = row[7:]
    health = (
        HealthState(score=score, alert_state=alert_state, version=version, next_check_at=next_check_at)
        if version is not None
        else None
    )
    return Kept(
        began_at=since,
        last_seq=last_seq,
        resolution_version=resolution_version,
        facts=bytes(facts) if facts is not None else None,
        health=health,
        watermark=Watermark(
            subject_since=since, passages=passages, compiled_seq=compiled_seq, last_seq=last_seq, snapshot=snapshot
        ),
    )


def sessions(conn: Connection, tenant_id: str, subject_id: str) -> Sequence[SessionRow]:
    """Every session of the subject in one statement, by its first moment. Index: (tenant_id, subject_id, seq)."""
    with conn.cursor(binary=True, row_factory=class_row(SessionRow)) as cursor:
        return cursor.execute(
            _SESSIONS,
            {
                "tenant": tenant_id,
                "subject": subject_id,
                "window": WINDOW_EPISODES,
                "compared": COMPARED_CHARS,
            },
        ).fetchall()


def keep(conn: Connection, tenant_id: str, subject_id: str, seen: Kept, facts: bytes) -> None:
    """Keep what was worked out of the subject as it was when `seen` was read. Newer facts are never replaced.

    Nor are facts of an erased subject kept for the one that took its name since.
    """
    conn.execute(
        _KEEP,
        {
            "tenant": tenant_id,
            "subject": subject_id,
            "began_at": seen.began_at,
            "last_seq": seen.last_seq,
            "resolution_version": seen.resolution_version,
            "facts": facts,
        },
    )


def forget_outdated(conn: Connection, *, limit: int) -> int:
    """Delete what was kept of subjects that have changed since, at most `limit`; it would never be read again.

    Returns:
        How many were deleted.
    """
    return conn.execute(_FORGET_OUTDATED, (limit,)).rowcount
