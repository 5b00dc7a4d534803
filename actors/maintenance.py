"""Housekeeping on a schedule. Each tick does a bounded amount of work and may run twice without harm."""

from __future__ import annotations

import dramatiq
import structlog
from periodiq import cron

from actors.broker import QUEUES
from actors.process import services
from actors.relay import relay_once
from pipelines import retention, webhook_admin

log = structlog.get_logger()


@dramatiq.actor(queue_name="maintenance", periodic=cron("* * * * *"))  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def sweep_due_runs() -> None:
    """Wake what is due on any queue, also on those whose own workers are gone.

    It is also the tick of every minute without which periodiq misses the first minute of an hour-restricted schedule.
    """
    relay_once(services().pool, QUEUES)


@dramatiq.actor(queue_name="maintenance", periodic=cron("7 * * * *"))  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def purge_finished_runs() -> None:
    """Delete finished runs that are older than their retention."""
    log.info("finished runs purged", count=retention.purge_finished_runs(services()))


@dramatiq.actor(queue_name="maintenance", periodic=cron("*/10 * * * *"))  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def tombstone_expired_memories() -> None:
    """Mark memories whose time is over; readers have not seen them since that time."""
    log.info("expired memories tombstoned", count=retention.tombstone_expired(services()))


@dramatiq.actor(queue_name="maintenance", periodic=cron("17 * * * *"))  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def purge_delivered_webhooks() -> None:
    """Delete delivered webhooks that are older than their retention."""
    log.info("delivered webhooks purged", count=webhook_admin.purge_delivered(services()))
