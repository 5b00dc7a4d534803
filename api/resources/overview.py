"""The operators' overview of the whole server (contract: governance §9.1)."""

from __future__ import annotations

from api.operations import Call, Operation
from api.resources.service import server_version
from api.schemas.tenants import (
    ConnectionInfo,
    Dashboard,
    DashboardCheck,
    DashboardMigration,
    DashboardReadiness,
    ReadinessCheck,
)
from api.schemas.webhooks import DeliveryCounts
from pipelines import overview
from pipelines.schema import schema


def dashboard(call: Call) -> Dashboard:
    found = overview.look(call.services)
    return Dashboard(
        readiness=DashboardReadiness(
            status=found.readiness.status,
            checks=[
                DashboardCheck(name=check.name, status=check.status, detail=check.detail, latency_ms=check.latency_ms)
                for check in found.readiness.checks
            ],
        ),
        migration=DashboardMigration(
            current_revision=found.schema.current,
            expected_head=found.schema.expected,
            is_compatible=found.schema.is_compatible,
            pending_count=len(found.schema.pending),
        ),
        counts=found.counts,
        jobs=found.jobs,
        webhooks=DeliveryCounts(**found.webhooks, total=sum(found.webhooks.values())),
        health_distribution=found.health,
    )


def connection_info(call: Call) -> ConnectionInfo:
    settings = call.services.settings
    return ConnectionInfo(
        version=server_version(),
        schema_head=schema(call.services).expected,
        host=settings.host,
        port=settings.port,
        region=settings.region,
        auth_enabled=settings.api_key is not None or settings.require_api_key,
        compiler_type=settings.compiler_type,
        embedding_provider=settings.embedding_provider,
        require_tenant=settings.require_tenant,
    )


def readiness_check(call: Call) -> ReadinessCheck:
    return ReadinessCheck(issues=overview.issues(call.services.settings))


OPERATIONS = [
    Operation(
        "GET",
        "/admin/dashboard",
        "How the server is and what it holds",
        dashboard,
        {200: Dashboard},
        tag="Operators",
        errors=(503,),
    ),
    Operation(
        "GET",
        "/admin/connection-info",
        "Which server this is",
        connection_info,
        {200: ConnectionInfo},
        tag="Operators",
        errors=(503,),
    ),
    Operation(
        "GET",
        "/admin/readiness-check",
        "Settings that are unsafe or unwise",
        readiness_check,
        {200: ReadinessCheck},
        tag="Operators",
        errors=(503,),
    ),
]
