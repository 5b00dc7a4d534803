"""What happens at regular times, and firing it once however many schedulers there are.

A scheduler's message only says "look": `fire_due` decides by the rows. A tick is a multiple of its schedule's
interval since 1970, in UTC. Taking it is inserting the row (schedule, tick); the work is a run of kind `maintenance`
written in the same transaction, with retries, leases and a history as every run has.

After a time without schedulers a schedule fires once for all the ticks it missed (`once`), or goes on with the next
one (`skip`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from config.clock import utcnow
from config.ids import uuid7
from pipelines import dispatch, embedding_change, retention, webhook_admin
from pipelines.receipts.reading import tombstone_expired
from pipelines.services import Services
from pipelines.support import health_alerts
from storage import new_runs, run_dispatch, runs, schedules
from storage.rows import Run
from storage.schedules import ScheduleRow
from storage.transactions import Pool, operator_transaction

KIND = "maintenance"
QUEUE = "maintenance"

#: A tick that is taken later than this was missed.
LATE = timedelta(seconds=90)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Work at regular times. It returns figures for the run's result; it may run twice without harm."""

    name: str
    every: timedelta
    work: Callable[[Services], dict[str, Any]]
    offset: timedelta = field(default=timedelta())
    catch_up: Literal["once", "skip"] = "once"

    def last_tick(self, now: datetime) -> datetime:
        """The newest tick that is not after `now`."""
        return _EPOCH + (now - _EPOCH - self.offset) // self.every * self.every + self.offset


SCHEDULES = (
    Schedule(
        name="reap-leases",
        every=timedelta(minutes=1),
        catch_up="skip",
        work=lambda services: {"reaped": dispatch.reap(services)},
    ),
    Schedule(
        name="expire-memories",
        every=timedelta(minutes=10),
        work=lambda services: {"tombstoned": retention.tombstone_expired(services)},
    ),
    Schedule(
        name="purge-runs",
        every=timedelta(hours=1),
        offset=timedelta(minutes=7),
        work=lambda services: {"purged": retention.purge_finished_runs(services)},
    ),
    Schedule(
        name="purge-webhooks",
        every=timedelta(hours=1),
        offset=timedelta(minutes=17),
        work=lambda services: {"purged": webhook_admin.purge_delivered(services)},
    ),
    Schedule(
        name="sweep-health",
        every=timedelta(minutes=1),
        catch_up="skip",
        work=lambda services: {"scheduled": health_alerts.sweep(services)},
    ),
    Schedule(
        name="prune-embeddings",
        every=timedelta(hours=1),
        offset=timedelta(minutes=37),
        work=lambda services: {"pruned": embedding_change.prune_old(services)},
    ),
    Schedule(
        name="expire-receipts",
        every=timedelta(hours=1),
        offset=timedelta(minutes=27),
        work=lambda services: {"tombstoned": tombstone_expired(services)},
    ),
    Schedule(
        name="clean-caches",
        every=timedelta(days=1),
        offset=timedelta(hours=3, minutes=40),
        work=lambda services: {"deleted": retention.clean_caches(services)},
    ),
    Schedule(
        name="purge-provider-calls",
        every=timedelta(days=1),
        offset=timedelta(hours=3, minutes=50),
        work=lambda services: {"purged": retention.purge_provider_calls(services)},
    ),
    Schedule(
        name="purge-ticks",
        every=timedelta(days=1),
        offset=timedelta(hours=3, minutes=20),
        work=lambda services: {"purged": retention.purge_ticks(services)},
    ),
)

_BY_NAME = {schedule.name: schedule for schedule in SCHEDULES}


def declare(services: Services, *, now: datetime | None = None) -> None:
    """Write down the schedules that this version has."""
    now = now or utcnow()
    with operator_transaction(services.pool) as conn:
        for schedule in SCHEDULES:
            schedules.declare(
                conn,
                schedule.name,
                every=schedule.every,
                offset=schedule.offset,
                catch_up=schedule.catch_up,
                next_tick=schedule.last_tick(now) + schedule.every,
            )


def fire_due(services: Services, *, now: datetime | None = None) -> list[str]:
    """Take every tick that has come and was not taken.

    Returns:
        Names of the schedules that fired here.
    """
    now = now or utcnow()
    declare(services, now=now)
    with operator_transaction(services.pool) as conn:
        due = [_BY_NAME[name] for name, _ in schedules.due(conn, now=now) if name in _BY_NAME]
    return [schedule.name for schedule in due if _fire(services, schedule, now)]


def _fire(services: Services, schedule: Schedule, now: datetime) -> bool:
    tick = schedule.last_tick(now)
    missed = now - tick > LATE and schedule.catch_up == "skip"
    run_id = None if missed else uuid7()
    with operator_transaction(services.pool) as conn:
        taken = schedules.take_tick(
            conn,
            schedule.name,
            tick=tick,
            outcome="skipped" if missed else "fired",
            next_tick=tick + schedule.every,
            run_id=run_id,
        )
        if not taken or run_id is None:
            return False
        # None when the run of an earlier tick still waits: it does the work of this one as well.
        new_runs.add(
            conn,
            run_id=run_id,
            tenant_id="",
            subject_id=None,
            kind=KIND,
            queue=QUEUE,
            stage=schedule.name,
            unique_key=f"schedule:{schedule.name}",
            params={"tick": tick.isoformat()},
        )
        run_dispatch.announce(conn, QUEUE)
    return True


def perform(services: Services, run: Run) -> Run | None:
    """Do the work of a tick. None when the run was lost to another worker meanwhile."""
    result = _BY_NAME[run.stage].work(services)
    with operator_transaction(services.pool) as conn:
        if not runs.complete(conn, run, result=result):
            return None
    return msgspec.structs.replace(run, state="completed")


def list_schedules(pool: Pool) -> list[ScheduleRow]:
    """All schedules with their last and next tick."""
    with operator_transaction(pool) as conn:
        return schedules.list_schedules(conn)
