"""Sending webhooks. Rules and retries are `pipelines.webhook_delivery`'s."""

from __future__ import annotations

import dramatiq

from actors.stages import work_on
from actors.wake import actor_name
from pipelines.backoff import WEBHOOK
from pipelines.webhook_delivery import deliver
from storage.webhook_deliveries import KIND, QUEUE, STAGE

#: Milliseconds after which Dramatiq interrupts a delivery: well above `STATEWAVE_WEBHOOK_TIMEOUT` at its largest, for
#: the look-up of a name has time-outs of its own.
TIME_LIMIT_MS = 300_000


@dramatiq.actor(actor_name=actor_name(KIND, STAGE), queue_name=QUEUE, time_limit=TIME_LIMIT_MS)
def deliver_webhook(run_id: str) -> None:
    """Attempt one delivery."""
    work_on(run_id, STAGE, deliver, WEBHOOK)
