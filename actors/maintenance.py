"""Housekeeping on a schedule. The scheduler says "look"; what is due is decided by rows (`pipelines.schedules`)."""

from __future__ import annotations

import dramatiq
import structlog

from actors.process import process
from actors.relay import relay_once
from actors.stages import stage_actor
from config.queues import QUEUES
from pipelines import schedules
from storage.transactions import DATABASE_AWAY

log = structlog.get_logger()

#: Milliseconds after which nobody looks any more because of a message that waited. Ticks are made safe by the database,
#: not by this.
STALE_MS = 3_600_000

#: Runs of a queue that the sweep of the scheduler hands out at most.
SWEPT_AT_ONCE = 100


@dramatiq.actor(queue_name="maintenance", max_age=STALE_MS)
def tick() -> None:
    """Fire the schedules that are due, and sweep every queue, also those whose own workers are gone."""
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
