"""How every actor works on a run: claim it, keep its lease, call the stage, decide about another attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

import dramatiq
import structlog
from dramatiq.middleware.time_limit import TimeLimitExceeded
from structlog.contextvars import bound_contextvars

from actors.process import process
from actors.stage_watch import StageWatch
from actors.wake import actor_name, wake
from config.error_reporting import report
from config.tracing import child_of, trace_id, tracing
from pipelines import attempts
from pipelines.failures import is_transient
from pipelines.services import Services
from pipelines.usage import Meter
from storage import runs
from storage.rows import Run
from storage.transactions import DATABASE_AWAY, operator_transaction

log = structlog.get_logger()

#: A stage does its work and commits it; it returns the run as it stands then, or None when the run was lost.
Stage = Callable[[Services, Run], Run | None]

#: Milliseconds after which Dramatiq interrupts a message. Statement timeouts are far below.
TIME_LIMIT_MS = 600_000

#: Seconds for which one message goes on with further stages and batches of its run. Then it goes to the end of the
#: queue, so that a subject with a million episodes does not keep a thread from the others.
IN_ONE_GO_SECONDS = 2.0

#: What is counted for a stage after which the run is in a state.
OUTCOMES = {"running": "advanced", "pending": "postponed"}

#: What a tenant used when a run of a kind has ended well.
METERS: dict[str, Meter] = {"compile": "compile_jobs", "webhook": "webhooks"}

#: Seconds between attempts to write down that a run failed, while the database is away.
WRITE_RETRY_SECONDS = 0.5

_stages: dict[str, Stage] = {}


def stage_actor(
    kind: str, stage: str, work: Stage, *, queue: str, time_limit_ms: int = TIME_LIMIT_MS
) -> dramatiq.Actor[[str], None]:
    """Declare the actor that does a stage of a kind of run. Its messages carry the run's id."""
    name = actor_name(kind, stage)
    _stages[name] = work

    def act(run_id: str) -> None:
        work_on(UUID(run_id), stage)

    return dramatiq.actor(actor_name=name, queue_name=queue, time_limit=time_limit_ms)(act)


def work_on(run_id: UUID, stage: str) -> None:
    """Do one stage of the run, if it is due and nobody else does it, and those that follow.

    A message for a run that is done, held, at another stage or gone is a duplicate, and nothing happens.
    """
    own = process()
    began = time.monotonic()
    following: Run | None = None
    try:
        run = _claim(run_id, stage)
        while run is not None:
            following = _attempt(run)
            if following is None or following.state != "running":
                return
            if own.is_stopping or time.monotonic() - began > IN_ONE_GO_SECONDS or not own.serves(following.queue):
                wake(following)
                return
            run = _claim(run_id, following.stage)
    except DATABASE_AWAY as ex:
        # Nothing is lost: the run's lease ends, or it has none, and the relay finds it.
        log.warning("database away", run_id=str(run_id), reason=type(ex).__name__)
    finally:
        own.run_ended()


def _claim(run_id: UUID, stage: str) -> Run | None:
    own = process()
    with operator_transaction(own.services.pool) as conn:
        return runs.claim(conn, run_id, stage=stage, lease=own.leases.lease)


def _attempt(run: Run) -> Run | None:
    """Do the stage a claimed run is at; the run when it goes on or has ended, None when it waits or was lost."""
    own = process()
    with (
        bound_contextvars(
            run_id=str(run.id),
            tenant_id=run.tenant_id,
            kind=run.kind,
            stage=run.stage,
            request_id=run.request_id,
            trace_id=trace_id(run.traceparent),
        ),
        tracing(child_of(run.traceparent)),
        own.leases.holding(run),
    ):
        watch = StageWatch(run)
        try:
            looked_at = attempts.before_work(own.services, run)
            if looked_at is not run:
                return looked_at
            following = _stages[actor_name(run.kind, run.stage)](own.services, run)
        except Exception as ex:
            watch.end("failed")
            return _give_back(run, ex)
        except TimeLimitExceeded:
            watch.end("failed")
            return _give_back(run, TimeoutError("not done within the time limit"))
        if following is None:
            watch.end("lost")
            log.warning("run lost to another worker", fence=run.fence)
        else:
            watch.end(OUTCOMES.get(following.state, following.state))
            if following.state == "completed" and run.kind in METERS:
                own.services.usage.count(run.tenant_id, METERS[run.kind])
        return following


def _give_back(run: Run, ex: Exception) -> Run | None:
    """Decide about the run, also when the database is away for a moment: without, it counts as a crash."""
    own = process()
    if not is_transient(ex):
        report(ex, run_id=str(run.id), kind=run.kind, stage=run.stage, request_id=run.request_id)
    deadline = time.monotonic() + own.leases.lease.total_seconds()
    while True:
        try:
            return attempts.give_back(own.services, run, ex)
        except DATABASE_AWAY:
            if own.is_stopping or time.monotonic() > deadline:
                raise
            time.sleep(WRITE_RETRY_SECONDS)
