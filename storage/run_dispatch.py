"""SQL that hands runs out: which are due, in which order, and when the next will be.

Handing out goes round the tenants that have runs in the queue. Each is given one before any is given two, counting
what it has under way, and never more than its share at a time; so the length of one tenant's backlog does not
matter to another's first run. Any number of relays may do so at once: each run goes to one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from psycopg.rows import class_row

from storage.rows import Run
from storage.runs import COLUMNS
from storage.transactions import Connection

#: Channel on which a transaction announces runs that became due; the payload is their queue.
CHANNEL = "statewave_runs"

_UNFINISHED = "state in ('pending', 'running')"

# A loose index scan over runs_due: one probe per tenant, however many runs each has. The first row of a tenant is
# its oldest, so a tenant of which nothing is due is passed over.
_TENANTS = f"""
with recursive tenants (tenant_id, run_after) as (
    (select tenant_id, run_after from runs where queue = %(queue)s and {_UNFINISHED} and tenant_id {{first}} %(after)s
      order by tenant_id, run_after limit 1)
    union all
    select n.tenant_id, n.run_after from tenants t
     cross join lateral (select r.tenant_id, r.run_after from runs r
                          where r.queue = %(queue)s and r.{_UNFINISHED} and r.tenant_id > t.tenant_id
                          order by r.tenant_id, r.run_after limit 1) n
)
select tenant_id from tenants where run_after <= now() limit %(limit)s
"""
_TENANTS_FROM_START = _TENANTS.format(first=">=")
_TENANTS_AFTER = _TENANTS.format(first=">")

_IDLE = (
    "(r.lease_until is null or r.lease_until < now())"
    " and (r.woken_at is null or r.woken_at < r.run_after or r.woken_at < now() - %(patience)s)"
)

# PERF: the oldest run of a key is asked for by a scalar subquery, one probe for each row that is looked at. As an
# anti-join the planner works through the whole backlog, and without statistics for minutes. The inner limit stops
# the scan of runs_due after as many rows as are wanted.
_HAND_OUT = f"""
with busy as (
    select tenant_id, count(*) as runs from runs
     where queue = %(queue)s and {_UNFINISHED} and woken_at is not null
       and (lease_until > now() or (lease_until is null and woken_at > now() - %(patience)s))
     group by tenant_id
), due as (
    select d.id, d.turn, v.place
      from unnest(%(tenants)s::text[]) with ordinality as v (tenant_id, place)
      left join busy b on b.tenant_id = v.tenant_id
     cross join lateral (
        select f.id, coalesce(b.runs, 0) + row_number() over (order by f.run_after, f.id) as turn
          from (select r.id, r.run_after from runs r
                 where r.queue = %(queue)s and r.tenant_id = v.tenant_id and r.{_UNFINISHED} and r.run_after <= now()
                   and {_IDLE}
                   and (r.unique_key is null or r.id = (
                       select e.id from runs e
                        where e.tenant_id = r.tenant_id and e.unique_key = r.unique_key and e.{_UNFINISHED}
                        order by e.created_at, e.id limit 1))
                 order by r.run_after, r.id
                 limit %(limit)s) f
     ) d
     where d.turn <= %(share)s and not exists (select 1 from queue_pauses p where p.queue = %(queue)s)
     order by d.turn, v.place
     limit %(limit)s
), locked as (
    -- Looked at again under the lock: another relay may have handed it out meanwhile.
    select r.id, due.turn, due.place from due join runs r on r.id = due.id where {_IDLE} for update of r skip locked
), handed as (
    update runs set woken_at = now()
      from locked
     where runs.id = locked.id
    returning {", ".join("runs." + name for name in COLUMNS.split(", "))}, locked.turn, locked.place
)
select {COLUMNS} from handed order by turn, place
"""

_POSTPONE = """
update runs r set run_after = least(s.last_episode_at + %(quiet)s, r.created_at + %(at_latest)s)
  from subjects s
 where r.id in (select id from runs
                 where kind = 'compile' and state = 'pending' and joinable and not params ? 'explicit'
                   and run_after <= now()
                 order by run_after limit %(limit)s for update skip locked)
   and s.tenant_id = r.tenant_id and s.subject_id = r.subject_id
   and least(s.last_episode_at + %(quiet)s, r.created_at + %(at_latest)s) > now()
"""

_NEXT_DUE = f"""
select extract(epoch from min(soonest.run_after) - clock_timestamp())::float8
  from unnest(%(queues)s::text[]) as q (queue)
 cross join lateral (select run_after from runs
                      where queue = q.queue and {_UNFINISHED} and run_after > now() order by run_after limit 1) soonest
"""

_REAP = """
update runs
   set lease_until = null, fence = fence + 1, crashes = crashes + 1, woken_at = null, ready_at = now(),
       errors = with_error(errors, jsonb_build_object(
           'at', now(), 'stage', stage, 'attempt', attempts, 'crashes', crashes + 1, 'error', 'the worker went silent'))
 where id in (select id from runs where lease_until < now() and state = 'running'
               order by lease_until limit %(limit)s for update skip locked)
returning queue
"""


def announce(conn: Connection, queue: str) -> None:
    """Tell the relays, when this transaction commits, that the queue has runs that are due."""
    conn.execute("select pg_notify(%s, %s)", (CHANNEL, queue))


def tenants_with_runs(conn: Connection, queue: str, *, after: str | None, limit: int) -> list[str]:
    """Tenants with runs in the queue that are due or under way, in order, beginning behind `after`. Index: runs_due."""
    query = _TENANTS_FROM_START if after is None else _TENANTS_AFTER
    rows = conn.execute(query, {"queue": queue, "after": after or "", "limit": limit}).fetchall()
    return [tenant_id for (tenant_id,) in rows]


def hand_out(
    conn: Connection, queue: str, *, tenants: Sequence[str], limit: int, share: int, patience: timedelta
) -> list[Run]:
    """Runs that are due, held by nobody, not blocked by an older one of their key and not handed out lately.

    They count as handed out from now on. None of a paused queue.

    Args:
        tenants: whose runs, in the order of their turns.
        limit: how many at most.
        share: how many runs of one tenant may be under way in the queue.
        patience: time after which a run that nobody claimed is handed out again.
    """
    parameters = {"queue": queue, "tenants": list(tenants), "limit": limit, "share": share, "patience": patience}
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(_HAND_OUT, parameters).fetchall()


def postpone_until_quiet(conn: Connection, *, quiet: timedelta, at_latest: timedelta, limit: int) -> int:
    """Move due automatic compiles to the time at which their subject will have been quiet for `quiet`.

    A subject that never goes quiet is compiled `at_latest` after its run was made. Runs that somebody asked for, or
    that have begun, are left alone. Index: runs_automatic.
    """
    return conn.execute(_POSTPONE, {"quiet": quiet, "at_latest": at_latest, "limit": limit}).rowcount


def seconds_until_next(conn: Connection, queues: Sequence[str]) -> float | None:
    """When the next run of these queues that is not due yet will be; None when none waits. Index: runs_next."""
    row = conn.execute(_NEXT_DUE, {"queues": list(queues)}).fetchone()
    return row[0] if row else None


def reap(conn: Connection, *, limit: int) -> list[str]:
    """Free runs whose lease ran out: their worker died or stalled, which is counted. Their old holder cannot commit.

    Returns:
        The queue of each.
    """
    return [queue for (queue,) in conn.execute(_REAP, {"limit": limit}).fetchall()]


def pause(conn: Connection, queue: str, *, reason: str) -> None:
    """Hand out nothing of the queue any more; what is under way goes on to the end of its stage."""
    conn.execute(
        "insert into queue_pauses (queue, reason) values (%s, %s)"
        " on conflict (queue) do update set reason = excluded.reason",
        (queue, reason),
    )


def resume(conn: Connection, queue: str) -> bool:
    """Hand out again. False when the queue was not paused."""
    return conn.execute("delete from queue_pauses where queue = %s", (queue,)).rowcount == 1
