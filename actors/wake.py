"""Messages that say "this run is ready"."""

from __future__ import annotations

import dramatiq
import structlog
from redis.exceptions import RedisError

from storage.rows import Run

log = structlog.get_logger()


def actor_name(kind: str, stage: str) -> str:
    """Name of the actor that does a stage of a kind of run."""
    return f"{kind}.{stage}"


def send(run: Run) -> None:
    """Put a message for the run's current stage on its queue. It carries the run's id and nothing else.

    Raises:
        redis.exceptions.RedisError: when the broker is away.
    """
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=run.queue,
        actor_name=actor_name(run.kind, run.stage),
        args=(str(run.id),),
        kwargs={},
        options={},
    )
    dramatiq.get_broker().enqueue(message)


def wake(run: Run) -> None:
    """Send, or let it be: without the message the relay will find the run."""
    try:
        send(run)
    except (RedisError, dramatiq.BrokerConnectionError) as ex:
        log.warning("wake-up not sent", run_id=str(run.id), reason=type(ex).__name__)
