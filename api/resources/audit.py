"""The audit log: what operators did, by the name of their key."""

from __future__ import annotations

from api.operations import Call, Lines, Operation
from api.schemas.audit import AuditPage, AuditQuery
from api.tenants import named_tenant
from pipelines import audit
from storage.audit import AuditFilter


def entries(call: Call) -> AuditPage | Lines:
    query = call.query
    which = AuditFilter(
        actor=query.actor,
        action=query.action,
        tenant_id=named_tenant(call, query.tenant_id),
        since=query.since,
        until=query.until,
    )
    if query.format == "jsonl":
        return Lines(audit.export(call.services.pool, which))
    page, cursor = audit.list_entries(call.services.pool, which, cursor=query.cursor, limit=query.limit)
    return AuditPage(entries=page, next_cursor=cursor)


OPERATIONS = [
    Operation(
        "GET",
        "/admin/audit",
        "What operators did, the newest first",
        entries,
        {200: AuditPage},
        tag="Operators",
        query=AuditQuery,
        errors=(422, 503),
        streams=True,
    ),
]
