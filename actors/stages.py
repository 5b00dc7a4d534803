"""How every actor works on a run: claim it, keep its lease, call the stage, decide about another attempt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars

from actors.process import leases, services
from actors.wake import wake
from pipelines.backoff import RetryPolicy
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction

log = structlog.get_logger()

#: A stage does its work and commits it; it returns the run as it stands then, or None when the run was lost.
Stage = Callable[[Services, Run], Run | None]


class PermanentFailure(Exception):
    """Another attempt would fail the same way: the run becomes a dead letter at once."""


def work_on(run_id: str, stage: str, work: Stage, policy: RetryPolicy) -> None:
    """Do one stage of the run, if it is due and nobody else does it.

    A message for a run that is done, held, at another stage or gone is a duplicate, and nothing happens.
    """
    own = services()
    lease = leases().lease
    with operator_transaction(own.pool) as conn:
        run = runs.claim(conn, UUID(run_id), stage=stage, lease=lease)
    if run is None:
        return
    with (
        bound_contextvars(run_id=run_id, tenant_id=run.tenant_id, stage=stage, request_id=run.request_id),
        leases().holding(run),
    ):
        try:
            following = work(own, run)
        except Exception as ex:
            _give_back(own, run, ex, policy)
            return
    if following is None:
        log.warning("run lost to another worker", run_id=run_id, fence=run.fence)
    elif following.state == "running":
        wake(following)


def _give_back(own: Services, run: Run, ex: Exception, policy: RetryPolicy) -> None:
    """Schedule another attempt, or make the run a dead letter. Messages of exceptions may hold content: log types."""
    reason = f"{type(ex).__name__}: {ex}"[:2000]
    with operator_transaction(own.pool) as conn:
        if isinstance(ex, PermanentFailure) or policy.exhausted(run.attempts):
            runs.fail(conn, run, error=reason)
            log.error("run failed", run_id=str(run.id), attempts=run.attempts, error=type(ex).__name__)
        else:
            delay: timedelta = policy.delay(run.attempts)
            runs.retry_later(conn, run, delay=delay, error=reason)
            log.warning(
                "run will be tried again",
                run_id=str(run.id),
                attempts=run.attempts,
                delay_seconds=round(delay.total_seconds(), 1),
                error=type(ex).__name__,
            )
