"""Tenants for operators: who there is, and what is configured for each."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.tenants import TenantAudit, TenantConfigChange, TenantList, stored_changes
from api.schemas.webhooks import TenantPath
from pipelines import tenants
from storage.tenant_configs import TenantConfigRow

GUIDANCE = (
    "These rows belong to the default tenant, the one of requests that name none. No other tenant sees them, nor they "
    "any of another. With STATEWAVE_REQUIRE_TENANT=true, or with keys bound to tenants, none are added."
)


def list_all(call: Call) -> TenantList:
    return TenantList(tenants=tenants.list_tenants(call.services))


def audit(call: Call) -> TenantAudit:
    return TenantAudit(null_tenant_rows=tenants.rows_without_tenant(call.services), guidance=GUIDANCE)


def show_config(call: Call) -> TenantConfigRow:
    return tenants.show_config(call.services, call.path.name)


def change_config(call: Call) -> TenantConfigRow:
    body = call.body
    return tenants.change_config(
        call.services,
        call.path.name,
        stored_changes(body),
        cleared=body.clear,
        expected_version=body.expected_version,
        force_region_pin=body.force_region_pin,
        by=call.principal,
        request_id=call.request_id,
    )


OPERATIONS = [
    Operation(
        "GET",
        "/admin/tenants",
        "Ids of all tenants",
        list_all,
        {200: TenantList},
        tag="Tenants",
        errors=(503,),
    ),
    Operation(
        "GET",
        "/admin/tenant-audit",
        "What was written without naming a tenant",
        audit,
        {200: TenantAudit},
        tag="Tenants",
        errors=(503,),
    ),
    Operation(
        "GET",
        "/admin/tenants/{tenant_id:path}/config",
        "What is configured for a tenant",
        show_config,
        {200: TenantConfigRow},
        tag="Tenants",
        path_fields=TenantPath,
        errors=(422, 503),
    ),
    Operation(
        "PATCH",
        "/admin/tenants/{tenant_id:path}/config",
        "Change some keys of a tenant's configuration",
        change_config,
        {200: TenantConfigRow},
        tag="Tenants",
        path_fields=TenantPath,
        body=TenantConfigChange,
        errors=(409, 413, 422, 503),
        description=(
            "Keys that are absent or null stay as they are; those named in `clear` go back to their defaults. With "
            "`expected_version` the change is refused (409) if anybody else changed the document since it was read."
        ),
    ),
]
