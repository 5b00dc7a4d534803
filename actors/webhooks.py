"""Sending webhooks. Rules and retries are `pipelines.webhook_delivery`'s."""

from __future__ import annotations

from actors.stages import stage_actor
from pipelines.webhook_delivery import deliver
from storage.webhook_deliveries import KIND, QUEUE, STAGE

#: Milliseconds after which Dramatiq interrupts a delivery: well above `STATEWAVE_WEBHOOK_TIMEOUT` at its largest, for
#: the look-up of a name has time-outs of its own.
TIME_LIMIT_MS = 300_000

deliver_webhook = stage_actor(KIND, STAGE, deliver, queue=QUEUE, time_limit_ms=TIME_LIMIT_MS)
