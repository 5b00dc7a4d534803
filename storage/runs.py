"""SQL of `runs` and `stage_outputs`: durable asynchronous work.

    pending ──claim──▶ running ──▶ completed
       ▲                  │ ├────▶ failed      (dead letter: stays until somebody acts)
       └──── retry ───────┘ └────▶ cancelled

A run is claimed by compare-and-set. The claim raises `fence` and sets `lease_until`; every later write of the worker
repeats the fence in its `where`, so a worker that was taken for dead cannot write any more. Runs with the same
`unique_key` go one after the other, oldest first; one that has not begun is joined by further requests.

Runs are made by `storage.new_runs`, those of compilations by `storage.compile_requests`. They are handed out by
`storage.run_dispatch`, and seen and steered by operators through `storage.run_operations`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.rows import Run
from storage.transactions import Connection

COLUMNS = (
    "id, tenant_id, subject_id, kind, queue, stage, state, attempts, crashes, quarantined, fence, params, result,"
    " error, request_id, traceparent, created_at, started_at, finished_at"
)


def _and_forget_outputs(change: str) -> str:
    """The change of a run, and what its stages kept is dropped by the same statement."""
    return f"""
with changed as ({change} returning id), forgotten as (
    delete from stage_outputs o using changed where o.run_id = changed.id
)
select id from changed
"""


_WAITED = "extract(epoch from now() - greatest(run_after, ready_at, lease_until))::float8"

# A lease that ran out belonged to a worker that died or stalled: a crash, which is not one of the run's attempts.
_CLAIM = f"""
update runs
   set state = 'running', joinable = false, fence = fence + 1,
       attempts = attempts + case when lease_until is null then 1 else 0 end,
       crashes = crashes + case when lease_until is null then 0 else 1 end,
       timings = with_timing(timings, stage, 'wait', {_WAITED}, 1),
       lease_until = now() + %(lease)s, claimed_at = now(), woken_at = now(), started_at = coalesce(started_at, now())
 where id = %(id)s and state in ('pending', 'running') and run_after <= now()
   and (lease_until is null or lease_until < now())
   and (%(stage)s::text is null or stage = %(stage)s)
   and case when %(in_place)s then crashes = 0 and lease_until is null
            else not exists (select 1 from queue_pauses p where p.queue = runs.queue) end
   and not exists (
       select 1 from runs earlier
        where earlier.tenant_id = runs.tenant_id and earlier.unique_key = runs.unique_key
          and earlier.state in ('pending', 'running')
          and (earlier.created_at, earlier.id) < (runs.created_at, runs.id))
returning {COLUMNS},
          greatest(extract(epoch from claimed_at - greatest(run_after, ready_at)), 0)::float8 as waited_seconds
"""

_HOLDS = "id = %(id)s and fence = %(fence)s and state = 'running'"

_RAN = "with_timing(timings, stage, 'run', extract(epoch from clock_timestamp() - claimed_at)::float8, 0)"

_WORKED = f"timings = {_RAN}, lease_until = null"

_ENTRY = (
    "jsonb_build_object('at', now(), 'stage', stage, 'attempt', attempts, 'crashes', crashes, 'error', %(error)s::text)"
)

# What is kept on needs no claim: it is claimed for the next stage here, under the same fence. Nothing is kept on of a
# paused queue, as nothing is claimed.
_ADVANCE = f"""
with held as (
    select id, case when not exists (select 1 from queue_pauses p where p.queue = runs.queue)
                    then %(keep)s::interval end as keep
      from runs where {_HOLDS} for update
), advanced as (
    update runs
       set timings = with_timing({_RAN}, %(stage)s, 'wait', 0, case when keep is null then 0 else 1 end),
           stage = %(stage)s, attempts = case when keep is null then 0 else 1 end, lease_until = now() + keep,
           claimed_at = clock_timestamp(), ready_at = clock_timestamp(), woken_at = clock_timestamp()
      from held
     where runs.id = held.id
    returning runs.id, tenant_id, keep is not null as is_kept
)
insert into stage_outputs (run_id, tenant_id, stage, output)
select id, tenant_id, %(done)s, %(output)s from advanced
on conflict (run_id, stage) do update set output = excluded.output
returning (select is_kept from advanced)
"""

_MOVE = f"""
update runs
   set {_WORKED}, queue = %(queue)s, attempts = greatest(attempts - 1, 0), ready_at = clock_timestamp(),
       woken_at = clock_timestamp()
 where {_HOLDS}
"""

_BEGIN_AGAIN = _and_forget_outputs(f"""
update runs
   set {_WORKED}, stage = %(stage)s, attempts = 0, crashes = least(crashes, %(crashes)s), params = params || %(params)s,
       ready_at = clock_timestamp(), woken_at = clock_timestamp(), error = coalesce(%(error)s, error),
       errors = case when %(error)s::text is null then errors else with_error(errors, {_ENTRY}) end
 where {_HOLDS}
""")

_COMPLETE = _and_forget_outputs(f"""
update runs set {_WORKED}, state = 'completed', finished_at = now(), result = %(result)s, crashes = 0 where {_HOLDS}
""")

_ERROR = f"error = %(error)s, errors = with_error(errors, {_ENTRY})"

_RETRY = f"""
update runs set {_WORKED}, {_ERROR}, state = 'pending', run_after = now() + %(delay)s, ready_at = now(), woken_at = null
 where {_HOLDS}
"""

_POSTPONE_HELD = f"""
update runs
   set {_WORKED}, state = 'pending', attempts = attempts - 1, run_after = now() + %(delay)s, ready_at = now(),
       woken_at = null
 where {_HOLDS}
"""

_FAIL = f"""
update runs
   set {_WORKED}, {_ERROR}, state = 'failed', finished_at = now(), quarantined = %(quarantined)s,
       params = params || %(params)s
 where {_HOLDS}
"""

_RELEASE = f"""
update runs set {_WORKED}, fence = fence + 1, attempts = greatest(attempts - 1, 0), woken_at = null, ready_at = now()
 where {_HOLDS}
"""


def claim(conn: Connection, run_id: UUID, *, stage: str | None, lease: timedelta, in_place: bool = False) -> Run | None:
    """Take the run if it is due, at this stage, held by nobody and the oldest of its key; otherwise None.

    A lease of somebody else that ran out is taken over, and counted as a crash.

    Args:
        stage: the stage the caller would do; None takes any.
        lease: how long the claim holds without `extend_lease`.
        in_place: the caller waits for the result and works on the run itself, instead of a worker. It may take one of
            a paused queue, but none that has brought a worker down.
    """
    parameters = {"id": run_id, "stage": stage, "lease": lease, "in_place": in_place}
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(_CLAIM, parameters).fetchone()


def extend_lease(conn: Connection, run: Run, *, lease: timedelta) -> bool:
    """Heartbeat. False when the run was lost to another worker, finished or erased."""
    cursor = conn.execute(
        f"update runs set lease_until = now() + %(lease)s where {_HOLDS} and lease_until is not null",
        {"id": run.id, "fence": run.fence, "lease": lease},
    )
    return cursor.rowcount == 1


def hold(conn: Connection, run: Run) -> bool:
    """Lock the run's row for the rest of the transaction; False when it was lost. Check before publishing."""
    row = conn.execute(f"select 1 from runs where {_HOLDS} for update", {"id": run.id, "fence": run.fence}).fetchone()
    return row is not None


def advance(conn: Connection, run: Run, *, next_stage: str, output: bytes) -> Run | None:
    """Keep what the run's stage made and open the next one. None when the run was lost.

    The next stage is claimed for the same holder if `run.keep_for` says so, and open to any worker otherwise. It counts
    as woken: the caller does it itself or sends a message for it.
    """
    parameters = {
        "id": run.id,
        "fence": run.fence,
        "stage": next_stage,
        "keep": run.keep_for,
        "done": run.stage,
        "output": output,
    }
    row = conn.execute(_ADVANCE, parameters).fetchone()
    return None if row is None else msgspec.structs.replace(run, stage=next_stage, is_kept=row[0], waited_seconds=0.0)


def keep_output(conn: Connection, run: Run, stage: str, output: bytes) -> None:
    """Keep something with the run until it is finished; under the name of a stage, or of what it is."""
    conn.execute(
        "insert into stage_outputs (run_id, tenant_id, stage, output) values (%s, %s, %s, %s)"
        " on conflict (run_id, stage) do update set output = excluded.output",
        (run.id, run.tenant_id, stage, output),
    )


def stage_output(conn: Connection, run: Run, stage: str) -> bytes | None:
    """What a former stage of the run made; None when the run went on, or was erased with its subject."""
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(
            "select output from stage_outputs where run_id = %s and stage = %s", (run.id, stage)
        ).fetchone()
    return bytes(row[0]) if row else None


def move(conn: Connection, run: Run, *, queue: str) -> bool:
    """Put a run that is held, and has done nothing, before other workers. False when the run was lost."""
    return conn.execute(_MOVE, {"id": run.id, "fence": run.fence, "queue": queue}).rowcount == 1


def complete(conn: Connection, run: Run, *, result: dict[str, Any]) -> bool:
    """Finish the run and drop its staged outputs. False when the run was lost."""
    parameters = {"id": run.id, "fence": run.fence, "result": Jsonb(result)}
    return conn.execute(_COMPLETE, parameters).rowcount == 1


def begin_again(
    conn: Connection, run: Run, *, stage: str, params: dict[str, Any], crashes: int = 0, error: str | None = None
) -> bool:
    """Open a stage for the next batch of the same run, forgetting the outputs of the last one.

    Args:
        crashes: what the count of crashes comes down to at most, because the run made progress.
        error: why, when it is not progress.
    """
    parameters = {
        "id": run.id,
        "fence": run.fence,
        "stage": stage,
        "params": Jsonb(params),
        "crashes": crashes,
        "error": error,
    }
    return conn.execute(_BEGIN_AGAIN, parameters).rowcount == 1


def retry_later(conn: Connection, run: Run, *, delay: timedelta, error: str) -> bool:
    """Give the run back, to be claimed again after `delay`; the error joins its history."""
    parameters = {"id": run.id, "fence": run.fence, "delay": delay, "error": error}
    return conn.execute(_RETRY, parameters).rowcount == 1


def postpone(conn: Connection, run: Run, *, delay: timedelta) -> bool:
    """Give the run back untried: the claim does not count as an attempt. False when the run was lost."""
    return conn.execute(_POSTPONE_HELD, {"id": run.id, "fence": run.fence, "delay": delay}).rowcount == 1


def fail(
    conn: Connection, run: Run, *, error: str, quarantined: bool = False, params: dict[str, Any] | None = None
) -> bool:
    """Make the run a dead letter: it stays, with its history, until an operator acts.

    Args:
        quarantined: whether it is one that kills its workers.
        params: what joins its parameters, for the attempt that an operator may ask for.
    """
    parameters = {
        "id": run.id,
        "fence": run.fence,
        "error": error,
        "quarantined": quarantined,
        "params": Jsonb(params or {}),
    }
    return conn.execute(_FAIL, parameters).rowcount == 1


def release(conn: Connection, run: Run) -> bool:
    """Give the run back untouched, to be claimed at once: its worker is told to stop. Neither attempt nor crash.

    The fence is raised, so that a thread which works on nevertheless cannot commit.
    """
    return conn.execute(_RELEASE, {"id": run.id, "fence": run.fence}).rowcount == 1


def find(conn: Connection, run_id: UUID) -> Run | None:
    """The run, if the transaction's tenant may see it."""
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(f"select {COLUMNS} from runs where id = %s", (run_id,)).fetchone()
