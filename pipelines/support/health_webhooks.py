"""Telling webhooks of a subject's health: the change is written into the outbox by the transaction that records it."""

from __future__ import annotations

from config.settings import Settings
from pipelines import webhook_events
from pipelines.services import Services
from pipelines.support import health_alerts
from pipelines.support.health_alerts import HealthChange, Tell
from storage.rows import Run
from storage.transactions import Connection


def tell_webhooks(settings: Settings, *, request_id: str | None = None) -> Tell:
    """What `check_health` calls with a change."""

    def tell(conn: Connection, tenant_id: str, subject_id: str, change: HealthChange) -> None:
        webhook_events.health_changed(
            conn,
            settings,
            tenant_id,
            subject_id,
            previous_state=change.previous_state,
            current_state=change.current_state,
            score=change.score,
            factors=change.factors,
            generated_at=change.generated_at,
            request_id=request_id,
        )

    return tell


def evaluate(services: Services, run: Run) -> Run | None:
    """The one stage of a health run, telling webhooks of a change."""
    tell = tell_webhooks(services.settings, request_id=run.request_id)
    return health_alerts.evaluate(services, run, tell=tell)
