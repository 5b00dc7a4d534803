"""Tenants as operators configure and see them (contract: governance §7, §9.1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.schemas.webhooks import DeliveryCounts
from pipelines.overview import Issue
from pipelines.tenant_config import TenantConfig
from storage.tenants import RowsWithoutTenant

_KEYS = msgspec.structs.fields(TenantConfig)


#: Every key of `TenantConfig`, where absent and null mean "as it is", and what steers the change.
TenantConfigChange = msgspec.defstruct(
    "TenantConfigChange",
    [
        *[(key.name, key.type | None, None) for key in _KEYS],
        (
            "clear",
            Annotated[
                list[Literal[tuple(key.name for key in _KEYS)]],  # type: ignore[misc]
                Meta(description="Keys that go back to their defaults, such as a pin that no longer holds."),
            ],
            msgspec.field(default_factory=list),
        ),
        (
            "expected_version",
            Annotated[int, Meta(ge=0, le=2**31 - 1, description="Refuse any other; 0: there must be none yet.")] | None,
            None,
        ),
        (
            "force_region_pin",
            Annotated[bool, Meta(description="Pin to a region that this server does not serve.")],
            False,
        ),
    ],
    kw_only=True,
    forbid_unknown_fields=True,
    module=__name__,
    namespace={"__doc__": "What is to be changed of a tenant's configuration; everything else stays as it is."},
)


class TenantList(msgspec.Struct, kw_only=True):
    """Ids of all tenants that have anything."""

    tenants: list[str]


class TenantAudit(msgspec.Struct, kw_only=True):
    """What was written without a tenant, and what that means."""

    null_tenant_rows: RowsWithoutTenant
    guidance: str


class ConnectionInfo(msgspec.Struct, kw_only=True):
    """What a console says about the server that it talks to."""

    version: str
    schema_head: str
    host: str
    port: int
    region: str | None
    auth_enabled: bool
    compiler_type: str
    embedding_provider: str
    require_tenant: bool


class ReadinessCheck(msgspec.Struct, kw_only=True):
    """Settings that are unsafe or unwise. Fixes are changes of the environment; none is staged here."""

    issues: list[Issue]
    fix_staged: bool = False


class DashboardCheck(msgspec.Struct, kw_only=True):
    """One thing the server depends on."""

    name: str
    status: str
    detail: str | None
    latency_ms: float | None


class DashboardReadiness(msgspec.Struct, kw_only=True):
    """All checks, and what they come to."""

    status: str
    checks: list[DashboardCheck]


class DashboardMigration(msgspec.Struct, kw_only=True):
    """Whether the schema is the one this server needs."""

    current_revision: str | None
    expected_head: str
    is_compatible: bool
    pending_count: int


class Dashboard(msgspec.Struct, kw_only=True):
    """How the server is and what it holds."""

    readiness: DashboardReadiness
    migration: DashboardMigration
    counts: dict[str, int]
    jobs: dict[str, int]
    webhooks: DeliveryCounts
    health_distribution: dict[str, int] | None


def stored_changes(body: Any) -> dict[str, Any]:
    """The keys that a change sets, as they are stored."""
    values = {key.name: getattr(body, key.name) for key in _KEYS}
    return {name: msgspec.to_builtins(value) for name, value in values.items() if value is not None}
