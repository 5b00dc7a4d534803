"""What operators do with tenants: list them, and change what is said about one (contract: governance §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config.errors import Conflict, FieldProblem, ValidationFailed
from pipelines import audit
from pipelines.principal import Principal
from pipelines.services import Services
from storage import tenant_configs, tenants
from storage.tenant_configs import TenantConfigRow
from storage.tenants import RowsWithoutTenant
from storage.transactions import operator_transaction


def list_tenants(services: Services) -> list[str]:
    """Every tenant that anything is stored of, by id; the default tenant has no id and is not among them."""
    with operator_transaction(services.pool) as conn:
        return tenants.list_ids(conn)


def rows_without_tenant(services: Services) -> RowsWithoutTenant:
    """How much belongs to the default tenant."""
    with operator_transaction(services.pool) as conn:
        return tenants.rows_without_tenant(conn)


def show_config(services: Services, tenant_id: str) -> TenantConfigRow:
    """The tenant's document; version 0 and no times when there is none."""
    with operator_transaction(services.pool) as conn:
        found = tenant_configs.find(conn, tenant_id)
    return found or TenantConfigRow(tenant_id=tenant_id, config={}, version=0, created_at=None, updated_at=None)


def change_config(
    services: Services,
    tenant_id: str,
    changes: Mapping[str, Any],
    *,
    cleared: Sequence[str] = (),
    expected_version: int | None = None,
    force_region_pin: bool = False,
    by: Principal,
    request_id: str | None = None,
) -> TenantConfigRow:
    """Set some keys of the tenant's document, clear others, and leave the rest as it is.

    Args:
        changes: keys of `TenantConfig` with values within their bounds.
        cleared: keys that go back to their defaults.
        expected_version: refuse unless the document has this version; 0 means that there must be none yet.
        force_region_pin: pin the tenant to a region although this server is in another.

    Raises:
        ValidationFailed: when a key is set and cleared at once, or the pin is not this server's region.
        Conflict: when the document has another version.
    """
    if both := sorted(set(changes) & set(cleared)):
        problems: list[FieldProblem] = [
            {"loc": ["body", key], "msg": "Expected a key to be set or cleared, not both", "type": "invalid_value"}
            for key in both
        ]
        raise ValidationFailed(f"The request is not valid: {', '.join(both)}", details=problems)
    own, pin = services.settings.region, changes.get("region")
    if pin is not None and own is not None and pin != own and not force_region_pin:
        raise ValidationFailed(
            f"this server does not serve region {pin!r}, so it would refuse the tenant from now on; set "
            "force_region_pin if that is meant",
            code="residency.invalid_pin",
        )
    # A pin to another region may be put right from here, so the document must be seen.
    with operator_transaction(services.pool, everywhere=True) as conn:
        changed = tenant_configs.change(conn, tenant_id, changes, cleared=cleared, expected_version=expected_version)
        if changed is None:
            found = tenant_configs.find(conn, tenant_id)
            now = f"is now at version {found.version}" if found else "does not exist"
            raise Conflict(f"the configuration {now}, not at version {expected_version}; read it again")
        audit.record(
            conn,
            actor=by.name,
            action="tenant_config.update",
            tenant_id=tenant_id,
            target=tenant_id,
            details={"changes": changes, "cleared": list(cleared), "version": changed.version},
            request_id=request_id,
        )
    return changed
