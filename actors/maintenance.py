"""Housekeeping on a schedule. Periodiq only says "look"; what is due is decided by rows (`pipelines.schedules`)."""

from __future__ import annotations

import dramatiq
import structlog
from periodiq import cron

from actors.process import process
from actors.relay import relay_once
from actors.stages import stage_actor
from config.queues import QUEUES
from pipelines import schedules
from storage.transactions import DATABASE_AWAY

log = structlog.get_logger()

#: Runs of a queue that the sweep of the scheduler hands out at most.
SWEPT_AT_ONCE = 100


@dramatiq.actor(queue_name="maintenance", periodic=cron("* * * * *"))  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def tick() -> None:
    """Fire the schedules that are due, and sweep every queue, also those whose own workers are gone.

    Every minute: with any other schedule, periodiq misses the first minute of an hour.
    """
    own = process()
    try:
        for name in schedules.fire_due(own.services):
            log.info("schedule fired", schedule=name)
        relay_once(own.services, QUEUES, limit=SWEPT_AT_ONCE)
    except DATABASE_AWAY as ex:
        log.warning("database away", reason=type(ex).__name__)


#: One actor per schedule, which does its work.
work = [
    stage_actor(schedules.KIND, schedule.name, schedules.perform, queue=schedules.QUEUE)
    for schedule in schedules.SCHEDULES
]
