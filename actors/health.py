"""Health runs: one stage, which looks at a subject's health and tells of a change. Scheduled by what changes it."""

from __future__ import annotations

from actors.stages import stage_actor
from pipelines.support import health_webhooks
from storage.health_states import KIND, QUEUE, STAGE

TIME_LIMIT_MS = 60_000

evaluate_health = stage_actor(KIND, STAGE, health_webhooks.evaluate, queue=QUEUE, time_limit_ms=TIME_LIMIT_MS)
