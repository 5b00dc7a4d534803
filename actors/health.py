"""Health runs: one stage, which looks at a subject's health and tells of a change. Scheduled by what changes it."""

from __future__ import annotations

import dramatiq
import structlog
from periodiq import cron

from actors.process import services
from actors.stages import work_on
from actors.wake import actor_name
from pipelines import backoff
from pipelines.support import health_alerts, health_webhooks
from storage.health_states import KIND, QUEUE, STAGE

log = structlog.get_logger()

TIME_LIMIT_MS = 60_000


@dramatiq.actor(actor_name=actor_name(KIND, STAGE), queue_name=QUEUE, time_limit=TIME_LIMIT_MS)
def evaluate_health(run_id: str) -> None:
    """Work out one subject's health, and tell subscribers if its state has changed."""
    work_on(run_id, STAGE, health_webhooks.evaluate, backoff.HEALTH)


@dramatiq.actor(queue_name=QUEUE, periodic=cron("* * * * *"))  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def sweep_health() -> None:
    """Schedule the subjects whose health time alone may have changed: an open issue that nobody touches."""
    due = health_alerts.sweep(services())
    if due:
        log.info("health checks scheduled", count=due)
