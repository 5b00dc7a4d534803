"""What happens to a run whose attempt failed or whose worker died: again, later, one episode at a time, or never."""

from __future__ import annotations

import random
from datetime import timedelta

import msgspec
import structlog

from pipelines import backoff, poison
from pipelines.compile_runs import COMPILE
from pipelines.failures import PermanentFailure, describe, is_transient
from pipelines.providers.calls import ProviderFailure
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction

log = structlog.get_logger()

#: A run that kills its worker so often without getting anywhere is not handed to another one.
CRASHES_AT_MOST = 3

#: Failures of one episode by itself until it is set aside.
ATTEMPTS_ALONE = 3

#: Failures without a call: all models are left alone, or all slots were taken.
NOBODY_ASKED = frozenset({"circuit_open", "busy"})

CRASHED = f"killed its worker {CRASHES_AT_MOST} times"


def before_work(services: Services, run: Run) -> Run | None:
    """Look at a run that was just claimed: one whose workers died is taken apart or quarantined first.

    Returns:
        The run itself when its stage is to be done now; the run at another stage, or finished, when that has been
        decided instead; None when it was lost.
    """
    if run.crashes == 0:
        return run
    if run.crashes >= CRASHES_AT_MOST:
        log.error("run quarantined", crashes=run.crashes)
        if run.kind == COMPILE and poison.is_isolating(run):
            return poison.set_aside(services, run, CRASHED, quarantined=True)
        with operator_transaction(services.pool) as conn:
            lost = not runs.fail(conn, run, error=CRASHED, quarantined=True)
        return None if lost else msgspec.structs.replace(run, state="failed")
    if run.kind == COMPILE and not poison.is_isolating(run):
        log.warning("batch of a dead worker taken apart", crashes=run.crashes)
        return _isolated(services, run, error="the worker died")
    return run


def give_back(services: Services, run: Run, ex: Exception) -> Run | None:
    """Decide about a run whose attempt raised.

    Returns:
        The run when it goes on at once, at the stage it is at now; None when it waits, is a dead letter or was lost.
    """
    policy = backoff.policy_of(run.kind)
    error = describe(ex)
    if run.kind == COMPILE and not is_transient(ex):
        if not poison.is_isolating(run):
            log.warning("batch taken apart", error=type(ex).__name__)
            return _isolated(services, run, error=error)
        if isinstance(ex, PermanentFailure) or run.attempts >= ATTEMPTS_ALONE:
            log.error("episode set aside", error=type(ex).__name__)
            return poison.set_aside(services, run, error, quarantined=False)
    if isinstance(ex, ProviderFailure) and ex.reason in NOBODY_ASKED:
        _postpone(services, run, ex)
        return None
    with operator_transaction(services.pool) as conn:
        if isinstance(ex, PermanentFailure) or policy.exhausted(run.attempts):
            runs.fail(conn, run, error=error)
            # The message may hold content, so the log names the type; the row has all of it.
            log.error("run failed", attempts=run.attempts, error=type(ex).__name__)
            return None
        delay = max(policy.delay(run.attempts), _asked_to_wait(ex))
        runs.retry_later(conn, run, delay=delay, error=error)
        log.warning(
            "run will be tried again",
            attempts=run.attempts,
            delay_seconds=round(delay.total_seconds(), 1),
            error=type(ex).__name__,
        )
    return None


def _asked_to_wait(ex: Exception) -> timedelta:
    """What the provider asks for, and a little more, so that not everybody comes back at the same moment."""
    asked = ex.retry_after if isinstance(ex, ProviderFailure) else None
    return timedelta(seconds=asked * random.uniform(1.0, 1.1) if asked else 0)


def _postpone(services: Services, run: Run, ex: ProviderFailure) -> None:
    """Nobody was asked, so it was no attempt: the run waits until somebody may be asked again."""
    delay = max(_asked_to_wait(ex), timedelta(seconds=random.uniform(1, 2)))
    with operator_transaction(services.pool) as conn:
        runs.postpone(conn, run, delay=delay)
    log.info("run waits for a provider", reason=ex.reason, delay_seconds=round(delay.total_seconds(), 1))


def _isolated(services: Services, run: Run, *, error: str) -> Run | None:
    with operator_transaction(services.pool) as conn:
        if not poison.isolate(conn, run, batch_size=services.settings.compile_batch_size, error=error):
            return None
    return msgspec.structs.replace(run, stage=COMPILE)
