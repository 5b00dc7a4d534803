"""SQL of what operators see of runs and do to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import class_row

from storage.rows import Run
from storage.runs import COLUMNS
from storage.transactions import Connection


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are meant; what is None does not matter."""

    states: tuple[str, ...] | None = None
    queue: str | None = None
    kind: str | None = None
    tenant_id: str | None = None
    subject_id: str | None = None
    quarantined: bool | None = None

    def conditions(self) -> tuple[sql.Composable, dict[str, Any]]:
        """The filter as SQL over `runs`, and its parameters."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        states = given.pop("states", None)
        equal = sql.SQL("{} = {}")
        terms: list[sql.Composable] = [equal.format(sql.Identifier(name), sql.Placeholder(name)) for name in given]
        if states is not None:
            terms.append(sql.SQL("state = any(%(states)s)"))
            given["states"] = list(states)
        return sql.SQL(" and ").join([sql.SQL("true"), *terms]), given


class RunDetail(Run, frozen=True, kw_only=True):
    """A run with its whole history."""

    errors: list[dict[str, Any]]
    timings: dict[str, Any]
    run_after: datetime
    lease_until: datetime | None


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue holds. `ready` runs could be worked on now; `scheduled` ones are due later."""

    queue: str
    ready: int
    scheduled: int
    running: int
    dead: int
    quarantined: int
    oldest_age_seconds: float | None
    finished_last_minute: int
    paused: bool
    pause_reason: str | None


_DETAIL = f"{COLUMNS}, errors, timings, run_after, lease_until"

_FIGURES = """
with unfinished as (
    select queue,
           count(*) filter (where run_after <= now() and (lease_until is null or lease_until < now())) as ready,
           count(*) filter (where run_after > now()) as scheduled,
           count(*) filter (where lease_until >= now()) as running,
           max(extract(epoch from now() - greatest(run_after, ready_at)))
               filter (where run_after <= now() and (lease_until is null or lease_until < now()))::float8 as oldest
      from runs where state in ('pending', 'running') group by queue
), dead as (
    select queue, count(*) as dead, count(*) filter (where quarantined) as quarantined
      from runs where state = 'failed' group by queue
), finished as (
    select queue, count(*) as finished from runs where finished_at > now() - interval '1 minute' group by queue
)
select q.queue, coalesce(ready, 0) as ready, coalesce(scheduled, 0) as scheduled, coalesce(running, 0) as running,
       coalesce(dead, 0) as dead, coalesce(quarantined, 0) as quarantined, oldest as oldest_age_seconds,
       coalesce(finished, 0) as finished_last_minute, p.queue is not null as paused, p.reason as pause_reason
  from unnest(%s::text[]) as q (queue)
  left join unfinished using (queue)
  left join dead using (queue)
  left join finished using (queue)
  left join queue_pauses p using (queue)
"""

_RETRY = """
update runs
   set state = 'pending', attempts = 0, crashes = 0, quarantined = false, joinable = false, fence = fence + 1,
       lease_until = null, woken_at = null, run_after = now(), ready_at = now(), started_at = null,
       finished_at = null
 where id in (select id from runs where {where} and state in ('failed', 'cancelled') order by id limit %(most)s
                 for update skip locked)
returning id, queue
"""

# What its stages made is deleted, so a compile that is retried begins at the first one; no other kind has several.
_CANCEL = """
update runs
   set state = 'cancelled', stage = case kind when 'compile' then 'compile' else stage end,
       finished_at = now(), lease_until = null, woken_at = null, fence = fence + 1, joinable = false
 where id = %s and state in ('pending', 'running')
returning queue
"""


def list_runs(conn: Connection, which: RunFilter, *, before: UUID | None, limit: int) -> list[Run]:
    """Runs, the newest first, beginning after the one with the id `before`. Ids are in the order of creation."""
    where, parameters = which.conditions()
    if before is not None:
        where = where + sql.SQL(" and id < %(before)s")
    query = sql.SQL("select {} from runs where {} order by id desc limit %(limit)s").format(sql.SQL(COLUMNS), where)
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(query, {**parameters, "before": before, "limit": limit}).fetchall()


def page_runs(conn: Connection, which: RunFilter, *, limit: int, offset: int) -> tuple[list[Run], int]:
    """One page of runs, the newest first, and how many there are."""
    where, parameters = which.conditions()
    query = sql.SQL("select {} from runs where {} order by id desc limit %(limit)s offset %(offset)s").format(
        sql.SQL(COLUMNS), where
    )
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        page = cursor.execute(query, {**parameters, "limit": limit, "offset": offset}).fetchall()
    total = conn.execute(sql.SQL("select count(*) from runs where {}").format(where), parameters).fetchone()
    return page, total[0] if total else 0


def find_detail(conn: Connection, run_id: UUID) -> RunDetail | None:
    """A run with its history."""
    with conn.cursor(row_factory=class_row(RunDetail)) as cursor:
        return cursor.execute(f"select {_DETAIL} from runs where id = %s", (run_id,)).fetchone()


def queue_figures(conn: Connection, queues: Sequence[str]) -> list[QueueFigures]:
    """What each of the queues holds, in the order given."""
    with conn.cursor(row_factory=class_row(QueueFigures)) as cursor:
        return cursor.execute(_FIGURES, (list(queues),)).fetchall()


def retry(conn: Connection, which: RunFilter, *, run_id: UUID | None, most: int) -> list[tuple[UUID, str]]:
    """Make dead letters and cancelled runs due again, at the stage where they ended. History is kept.

    Returns:
        Id and queue of each.
    """
    where, parameters = which.conditions()
    if run_id is not None:
        where = where + sql.SQL(" and id = %(id)s")
    query = sql.SQL(_RETRY).format(where=where)
    return conn.execute(query, {**parameters, "id": run_id, "most": most}).fetchall()


def cancel(conn: Connection, run_id: UUID) -> bool:
    """End a run that is not finished. Its worker, if it has one, loses it and cannot commit."""
    if conn.execute(_CANCEL, (run_id,)).rowcount == 0:
        return False
    conn.execute("delete from stage_outputs where run_id = %s", (run_id,))
    return True


def delete_finished(conn: Connection, which: RunFilter, *, run_id: UUID | None = None, most: int = 1000) -> int:
    """Delete completed runs and dead letters, at most `most`."""
    where, parameters = which.conditions()
    if run_id is not None:
        where = where + sql.SQL(" and id = %(id)s")
    query = sql.SQL(
        "delete from runs where id in (select id from runs where {} and finished_at is not null limit %(most)s)"
    ).format(where)
    return conn.execute(query, {**parameters, "id": run_id, "most": most}).rowcount


def purge_finished(conn: Connection, *, before: datetime, limit: int) -> int:
    """Delete runs that completed or were cancelled before a moment, at most `limit`.

    Dead letters stay, and so do webhooks: `storage.webhook_log` keeps them for a time of their own.
    """
    cursor = conn.execute(
        "delete from runs where id in (select id from runs where finished_at < %s"
        " and state in ('completed', 'cancelled') and kind <> 'webhook' order by finished_at limit %s)",
        (before, limit),
    )
    return cursor.rowcount


def reset_stuck(conn: Connection, *, older_than_seconds: float) -> list[tuple[UUID, str]]:
    """Take running runs from workers that have not ended a stage for so long, and make them due again.

    Returns:
        Id and queue of each.
    """
    return conn.execute(
        "update runs set lease_until = null, woken_at = null, fence = fence + 1, ready_at = now()"
        " where state = 'running' and claimed_at < now() - make_interval(secs => %s) returning id, queue",
        (older_than_seconds,),
    ).fetchall()


def quarantined_lanes(conn: Connection) -> list[tuple[str, str, int]]:
    """Queue, kind and number of runs that were quarantined and wait for an operator. Index: runs_dead."""
    return conn.execute(
        "select queue, kind, count(*) from runs where state = 'failed' and quarantined group by 1, 2 order by 1, 2"
    ).fetchall()
