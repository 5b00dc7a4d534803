"""What tenants use and what model providers cost, for operators."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.usage import UsageQuery
from api.tenants import named_tenant
from pipelines.usage_report import UsageQuestion, UsageReport, usage_report


def report(call: Call) -> UsageReport:
    query = call.query
    return usage_report(
        call.services.pool,
        call.services.settings,
        UsageQuestion(
            tenant_id=named_tenant(call, query.tenant_id),
            first=query.first,
            last=query.last,
            group_by=query.group_by,
            limit=query.limit,
        ),
    )


OPERATIONS = [
    Operation(
        "GET",
        "/admin/usage",
        "What one tenant used, or all of them",
        report,
        {200: UsageReport},
        tag="Operators",
        query=UsageQuery,
        errors=(422, 503),
        description="Counts are of UTC days and a few seconds late. `total` of episodes and memories is what is stored"
        " now; everything else counts what happened, also to subjects that were erased since.",
    ),
]
