"""SQL of `runs` and `stage_outputs`: durable asynchronous work.

    pending ──claim──▶ running ──▶ completed
       ▲                  │ ├────▶ failed      (dead letter: stays until somebody acts)
       └──── retry ───────┘ └────▶ cancelled

A run is claimed by compare-and-set. The claim raises `fence` and sets `lease_until`; every later write of the worker
repeats the fence in its `where`, so a worker that was taken for dead cannot write any more. Runs with the same
`unique_key` go one after the other, oldest first; one that has not begun is joined by further requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.rows import Run
from storage.transactions import Connection

_COLUMNS = (
    "id, tenant_id, subject_id, kind, queue, stage, state, attempts, fence, params, result, error, request_id,"
    " created_at, started_at, finished_at"
)

_REQUEST = """
insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, unique_key, run_after, params, request_id)
select r.id, %(tenant)s, r.subject_id, %(kind)s, %(queue)s, %(stage)s, 'pending', %(kind)s || ':' || r.subject_id,
       coalesce(%(run_after)s, now()), %(params)s, %(request_id)s
  from unnest(%(ids)s::uuid[], %(subjects)s::text[]) as r (id, subject_id)
"""

#: A request that finds one waiting leaves it alone: its time was set by the first of the quiet period.
_REQUEST_ONCE = _REQUEST + "on conflict (tenant_id, unique_key) where joinable and state = 'pending' do nothing"

#: An explicit request pulls a waiting run forward.
_REQUEST_SOONER = (
    _REQUEST
    + f"""
on conflict (tenant_id, unique_key) where joinable and state = 'pending' do update
   set run_after = least(runs.run_after, excluded.run_after),
       params = excluded.params,
       request_id = excluded.request_id
returning {_COLUMNS}, (xmax <> 0) as joined
"""
)

_CLAIM = f"""
update runs
   set state = 'running', joinable = false, fence = fence + 1, attempts = attempts + %(attempt)s,
       lease_until = now() + %(lease)s, started_at = coalesce(started_at, now())
 where id = %(id)s and state in ('pending', 'running') and run_after <= now()
   and (lease_until is null or lease_until < now())
   and (%(stage)s::text is null or stage = %(stage)s)
   and not exists (
       select 1 from runs earlier
        where earlier.tenant_id = runs.tenant_id and earlier.unique_key = runs.unique_key
          and earlier.state in ('pending', 'running')
          and (earlier.created_at, earlier.id) < (runs.created_at, runs.id))
returning {_COLUMNS}
"""

_HOLDS = "id = %(id)s and fence = %(fence)s and state = 'running'"

_ADVANCE = f"update runs set stage = %(stage)s, lease_until = null, attempts = 0 where {_HOLDS}"

_COMPLETE = f"""
update runs set state = 'completed', lease_until = null, finished_at = now(), result = %(result)s where {_HOLDS}
"""

_RETRY = f"""
update runs
   set state = 'pending', lease_until = null, run_after = now() + %(delay)s, error = %(error)s,
       errors = errors || jsonb_build_object('at', now(), 'stage', stage, 'attempt', attempts, 'error', %(error)s::text)
 where {_HOLDS}
"""

_POSTPONE_HELD = f"""
update runs set state = 'pending', lease_until = null, attempts = attempts - 1, run_after = now() + %(delay)s
 where {_HOLDS}
"""

_FAIL = f"""
update runs
   set state = 'failed', lease_until = null, finished_at = now(), error = %(error)s,
       errors = errors || jsonb_build_object('at', now(), 'stage', stage, 'attempt', attempts, 'error', %(error)s::text)
 where {_HOLDS}
"""

_POSTPONE = """
update runs r set run_after = least(s.last_episode_at + %(quiet)s, r.created_at + %(at_latest)s)
  from subjects s
 where r.id = %(id)s and r.joinable and r.state = 'pending' and not r.params ? 'explicit'
   and s.tenant_id = r.tenant_id and s.subject_id = r.subject_id
   and least(s.last_episode_at + %(quiet)s, r.created_at + %(at_latest)s) > now()
returning run_after
"""

_WAKE_DUE = f"""
update runs set woken_at = now()
 where id in (
    select id from runs
     where queue = any(%(queues)s) and state in ('pending', 'running') and run_after <= now()
       and (lease_until is null or lease_until < now())
       and (woken_at is null or woken_at < run_after or woken_at < now() - %(patience)s)
     order by run_after
     limit %(limit)s
       for update skip locked)
returning {_COLUMNS}
"""


def schedule_compiles(
    conn: Connection, tenant_id: str, runs: dict[str, UUID], *, run_after: datetime, request_id: str | None
) -> None:
    """See to it that each subject has a compile run that has not begun; one that waits already is left as it is."""
    conn.execute(_REQUEST_ONCE, _request(tenant_id, runs, run_after, request_id, {}))


def request_compile(
    conn: Connection, tenant_id: str, subject_id: str, *, run_id: UUID, request_id: str | None
) -> tuple[Run, bool]:
    """A compile run that is due now: a new one, or the waiting one pulled forward.

    Returns:
        The run, and whether it was there before.
    """
    cursor = conn.execute(
        _REQUEST_SOONER, _request(tenant_id, {subject_id: run_id}, None, request_id, {"explicit": True})
    )
    row = cursor.fetchone()
    assert row is not None
    *values, joined = row
    names = _COLUMNS.split(", ")
    return Run(**dict(zip(names, values, strict=True))), bool(joined)


def claim(conn: Connection, run_id: UUID, *, stage: str | None, lease: timedelta, attempt: bool = True) -> Run | None:
    """Take the run if it is due, at this stage, held by nobody and the oldest of its key; otherwise None.

    Args:
        stage: the stage the caller would do; None takes any.
        lease: how long the claim holds without `extend_lease`.
        attempt: whether the claim counts as an attempt.
    """
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(
            _CLAIM, {"id": run_id, "stage": stage, "lease": lease, "attempt": int(attempt)}
        ).fetchone()


def extend_lease(conn: Connection, run: Run, *, lease: timedelta) -> bool:
    """Heartbeat. False when the run was lost to another worker, finished or erased."""
    cursor = conn.execute(
        f"update runs set lease_until = now() + %(lease)s where {_HOLDS}",
        {"id": run.id, "fence": run.fence, "lease": lease},
    )
    return cursor.rowcount == 1


def hold(conn: Connection, run: Run) -> bool:
    """Lock the run's row for the rest of the transaction; False when it was lost. Check before publishing."""
    row = conn.execute(f"select 1 from runs where {_HOLDS} for update", {"id": run.id, "fence": run.fence}).fetchone()
    return row is not None


def advance(conn: Connection, run: Run, *, next_stage: str, output: bytes) -> bool:
    """Keep what the run's stage made and open the next one to any worker. False when the run was lost."""
    cursor = conn.execute(_ADVANCE, {"id": run.id, "fence": run.fence, "stage": next_stage})
    if cursor.rowcount == 0:
        return False
    conn.execute(
        "insert into stage_outputs (run_id, tenant_id, stage, output) values (%s, %s, %s, %s)"
        " on conflict (run_id, stage) do update set output = excluded.output",
        (run.id, run.tenant_id, run.stage, output),
    )
    return True


def stage_output(conn: Connection, run: Run, stage: str) -> bytes | None:
    """What a former stage of the run made; None when the run went on, or was erased with its subject."""
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(
            "select output from stage_outputs where run_id = %s and stage = %s", (run.id, stage)
        ).fetchone()
    return bytes(row[0]) if row else None


def complete(conn: Connection, run: Run, *, result: dict[str, Any]) -> bool:
    """Finish the run and drop its staged outputs. False when the run was lost."""
    cursor = conn.execute(_COMPLETE, {"id": run.id, "fence": run.fence, "result": Jsonb(result)})
    if cursor.rowcount == 0:
        return False
    conn.execute("delete from stage_outputs where run_id = %s", (run.id,))
    return True


def begin_again(conn: Connection, run: Run, *, stage: str, params: dict[str, Any]) -> bool:
    """Open a stage for the next batch of the same run, forgetting the outputs of the last one."""
    cursor = conn.execute(
        "update runs set stage = %(stage)s, lease_until = null, attempts = 0, params = params || %(params)s"
        f" where {_HOLDS}",
        {"id": run.id, "fence": run.fence, "stage": stage, "params": Jsonb(params)},
    )
    if cursor.rowcount == 0:
        return False
    conn.execute("delete from stage_outputs where run_id = %s", (run.id,))
    return True


def retry_later(conn: Connection, run: Run, *, delay: timedelta, error: str) -> bool:
    """Give the run back, to be claimed again after `delay`; the error joins its history."""
    parameters = {"id": run.id, "fence": run.fence, "delay": delay, "error": error}
    return conn.execute(_RETRY, parameters).rowcount == 1


def postpone(conn: Connection, run: Run, *, delay: timedelta) -> bool:
    """Give the run back untried: the claim does not count as an attempt. False when the run was lost."""
    return conn.execute(_POSTPONE_HELD, {"id": run.id, "fence": run.fence, "delay": delay}).rowcount == 1


def fail(conn: Connection, run: Run, *, error: str) -> bool:
    """Make the run a dead letter: it stays, with its history, until an operator acts."""
    return conn.execute(_FAIL, {"id": run.id, "fence": run.fence, "error": error}).rowcount == 1


def postpone_until_quiet(conn: Connection, run_id: UUID, *, quiet: timedelta, at_latest: timedelta) -> datetime | None:
    """Move a waiting automatic compile to the time at which its subject will have been quiet for `quiet`.

    A subject that never goes quiet is compiled `at_latest` after the run was made. A run that somebody asked for
    explicitly, or that has begun, is left alone.

    Returns:
        When the run is due now; None when it was left alone because it is due already.
    """
    row = conn.execute(_POSTPONE, {"id": run_id, "quiet": quiet, "at_latest": at_latest}).fetchone()
    return row[0] if row else None


def wake_due(conn: Connection, queues: Sequence[str], *, patience: timedelta, limit: int) -> list[Run]:
    """Runs that are due, held by nobody, and not woken within `patience`; they count as woken from now on.

    Any number of relays may call it at once: each run goes to one of them. Index: runs_due.
    """
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(_WAKE_DUE, {"queues": list(queues), "patience": patience, "limit": limit}).fetchall()


def find(conn: Connection, run_id: UUID) -> Run | None:
    """The run, if the transaction's tenant may see it."""
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(f"select {_COLUMNS} from runs where id = %s", (run_id,)).fetchone()


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


def _request(
    tenant_id: str, runs: dict[str, UUID], run_after: datetime | None, request_id: str | None, params: dict[str, Any]
) -> dict[str, Any]:
    return {
        "tenant": tenant_id,
        "kind": "compile",
        "queue": "compile",
        "stage": "compile",
        "ids": list(runs.values()),
        "subjects": list(runs),
        "run_after": run_after,
        "params": Jsonb(params),
        "request_id": request_id,
    }
