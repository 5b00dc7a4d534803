"""Health and service levels of a subject, read (contract: core §7.1, §7.2)."""

from __future__ import annotations

from config.clock import utcnow
from pipelines.services import Services
from pipelines.support import sla
from pipelines.support.facts import load_facts
from pipelines.support.health import Health
from pipelines.support.health_alerts import check_health
from pipelines.support.health_webhooks import tell_webhooks
from pipelines.support.sla import ServiceLevels, service_levels
from storage.transactions import tenant_transaction


def read_health(services: Services, tenant_id: str, subject_id: str) -> Health:
    """The subject's health now; 100 without factors for an unknown one."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        health, _ = check_health(conn, tenant_id, subject_id, now=utcnow(), tell=tell_webhooks(services.settings))
    return health


def read_service_levels(
    services: Services,
    tenant_id: str,
    subject_id: str,
    *,
    first_response_minutes: float = sla.FIRST_RESPONSE_MINUTES,
    resolution_hours: float = sla.RESOLUTION_HOURS,
) -> ServiceLevels:
    """The subject's service levels now; zeros for an unknown one."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        snapshot = load_facts(conn, tenant_id, subject_id)
    return service_levels(
        snapshot.facts,
        subject_id=subject_id,
        now=utcnow(),
        first_response_minutes=first_response_minutes,
        resolution_hours=resolution_hours,
    )
