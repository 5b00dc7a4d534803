"""Receipts for operators (contract: governance §2.14), and the audit of a tenant's chain."""

from __future__ import annotations

import msgspec

from api.operations import Call, Operation
from api.schemas.admin_subjects import PageQuery, TenantQuery
from api.schemas.receipts import (
    AdminReceiptPage,
    AdminReceiptsQuery,
    AuditQuery,
    Receipt,
    ReceiptId,
    ReceiptPath,
    ReceiptReplay,
    Regression,
    SubjectReceipts,
)
from api.schemas.subjects import SubjectPath
from api.tenants import named_tenant, tenant_of_subject
from pipelines.receipts import audit, reading, replay
from pipelines.receipts.audit import ChainAudit
from pipelines.receipts.canonical import Body
from pipelines.receipts.replay import ReplayOutcome
from storage.receipts import StoredReceipt

TAG = "Operators"


class SubjectReceiptPath(SubjectPath, kw_only=True):
    """Which receipt of which subject."""

    receipt_id: ReceiptId


def list_page(call: Call) -> AdminReceiptPage:
    query = call.query
    page, cursor = reading.admin_list(
        call.services,
        tenant_id=named_tenant(call, query.tenant_id),
        subject_id=query.subject_id,
        since=query.since,
        until=query.until,
        cursor=query.cursor,
        limit=query.limit,
        delivered=query.delivered,
    )
    return AdminReceiptPage(receipts=page, next_cursor=cursor, limit=query.limit)


def find(call: Call) -> Body:
    return reading.body_of(_receipt(call))


def replay_one(call: Call) -> ReplayOutcome:
    return replay.replay(call.services, _receipt(call), memories=call.body.memories)


def audit_chain(call: Call) -> ChainAudit:
    query = call.query
    return audit.audit(
        call.services,
        named_tenant(call, query.tenant_id) or "",
        since=query.since,
        until=query.until,
        cursor=query.cursor,
        limit=query.limit,
    )


def of_subject(call: Call) -> SubjectReceipts:
    items, total = reading.summaries(
        call.services, tenant_of_subject(call), call.path.subject_id, limit=call.query.limit, offset=call.query.offset
    )
    return SubjectReceipts(items=[msgspec.to_builtins(item) for item in items], total=total)


def regression(call: Call) -> Regression:
    tenant_id, subject_id = tenant_of_subject(call), call.path.subject_id
    row = reading.find_of_subject(call.services, tenant_id, subject_id, call.path.receipt_id)
    return Regression(**reading.regression(call.services, tenant_id, subject_id, row))


def _receipt(call: Call) -> StoredReceipt:
    own = call.principal.tenant_id
    if own is not None:
        return reading.find(call.services, own, call.path.receipt_id)
    receipt = reading.find_anywhere(call.services, call.path.receipt_id)
    call.request.serve_tenant(receipt.tenant_id)
    return receipt


_SUBJECT = "/admin/subjects/{subject_id:path}"

OPERATIONS = [
    Operation(
        "GET",
        "/admin/receipts",
        "Receipts of a subject or a tenant, newest first",
        list_page,
        {200: AdminReceiptPage},
        tag=TAG,
        query=AdminReceiptsQuery,
        errors=(422, 503),
        description="Those past their retention included. A subject or a tenant must be named.",
    ),
    Operation(
        "GET",
        "/admin/receipts/audit",
        "Whether a tenant's receipts are all there, unaltered and in order",
        audit_chain,
        {200: ChainAudit},
        tag=TAG,
        query=AuditQuery,
        errors=(422, 503),
        description="Tells the first break and its reason. Keep `head_seq` and `head_hash`: they show later whether"
        " the end was cut off.",
    ),
    Operation(
        "GET",
        "/admin/receipts/{receipt_id}",
        "One receipt of any tenant, as it was signed",
        find,
        {200: Receipt},
        tag=TAG,
        path_fields=ReceiptPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/receipts/{receipt_id}/replay",
        "Replay a receipt of any tenant",
        replay_one,
        {200: ReplayOutcome},
        tag=TAG,
        path_fields=ReceiptPath,
        body=ReceiptReplay,
        body_is_optional=True,
        scope="read",
        errors=(404, 413, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/admin-receipts",
        "A subject's receipts in a few words",
        of_subject,
        {200: SubjectReceipts},
        tag=TAG,
        path_fields=SubjectPath,
        query=PageQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/admin-receipts/{{receipt_id}}/regression",
        "What became of the memories that a receipt names",
        regression,
        {200: Regression},
        tag=TAG,
        path_fields=SubjectReceiptPath,
        query=TenantQuery,
        errors=(404, 409, 422, 503),
    ),
]
