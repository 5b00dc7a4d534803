"""Labels of memories: setting them, reviewing suggestions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.operations import Call, Operation
from api.schemas.admin_subjects import TenantQuery
from api.schemas.labels import (
    BulkSettle,
    Dismissed,
    LabelledMemoryPath,
    LabelsNamed,
    LabelsSet,
    Promoted,
    SuggestedMemory,
    SuggestedPage,
    SuggestedQuery,
)
from api.tenants import named_tenant
from pipelines.labels import changing
from pipelines.labels.changing import Settled
from pipelines.labels.detectors import CATALOGUE
from pipelines.policy.bundle import normal_label
from storage.labels import LabelledRow, SuggestionFilter
from storage.lineage import MemoryView
from storage.rows import Memory


def set_labels(call: Call) -> Memory:
    row = changing.set_labels(
        call.services,
        call.tenant_id,
        call.path.memory_id,
        call.body.sensitivity_labels,
        principal=call.principal,
        request_id=call.request_id,
    )
    return Memory(**{name: getattr(row, name) for name in Memory.__struct_fields__})


def set_labels_anywhere(call: Call) -> MemoryView:
    row = changing.set_labels_anywhere(
        call.services,
        named_tenant(call, call.query.tenant_id),
        call.path.memory_id,
        call.body.sensitivity_labels,
        principal=call.principal,
        request_id=call.request_id,
    )
    return MemoryView(**{name: getattr(row, name) for name in MemoryView.__struct_fields__})


def suggested(call: Call) -> SuggestedPage:
    query = call.query
    wanted = SuggestionFilter(
        tenant_id=named_tenant(call, query.tenant_id),
        subject_id=query.subject_id,
        labels=[normal_label(query.label)] if query.label else None,
    )
    page, total = changing.suggested_page(call.services, wanted, limit=query.limit, offset=query.offset)
    return SuggestedPage(
        memories=[SuggestedMemory.of(row) for row in page],
        total=total,
        limit=query.limit,
        offset=query.offset,
        catalogue=CATALOGUE,
    )


def promote(call: Call) -> Promoted:
    row, promoted = _settle_one(call, changing.promote_labels)
    return Promoted(promoted=promoted, **_labels_of(row))


def dismiss(call: Call) -> Dismissed:
    row, dismissed = _settle_one(call, changing.dismiss_labels)
    return Dismissed(dismissed=dismissed, **_labels_of(row))


def promote_many(call: Call) -> Settled:
    return _settle(call, promote=True)


def dismiss_many(call: Call) -> Settled:
    return _settle(call, promote=False)


def _settle_one(call: Call, settle: Callable[..., tuple[LabelledRow, list[str]]]) -> tuple[LabelledRow, list[str]]:
    return settle(
        call.services,
        named_tenant(call, call.query.tenant_id),
        call.path.memory_id,
        call.body.labels,
        principal=call.principal,
        request_id=call.request_id,
    )


def _settle(call: Call, *, promote: bool) -> Settled:
    body = call.body
    wanted = SuggestionFilter(
        tenant_id=named_tenant(call, body.tenant_id),
        subject_id=body.subject_id,
        labels=[normal_label(label) for label in body.labels],
        kind=body.kind,
        created_before=body.created_before,
    )
    return changing.settle_in_bulk(
        call.services,
        wanted,
        promote=promote,
        confirm=body.confirm,
        expected_count=body.expected_count,
        principal=call.principal,
        request_id=call.request_id,
    )


def _labels_of(row: LabelledRow) -> dict[str, Any]:
    return {
        "memory_id": row.id,
        "sensitivity_labels": row.sensitivity_labels,
        "suggested_labels": row.suggested_labels,
    }


OPERATIONS = [
    Operation(
        "PATCH",
        "/v1/memories/{memory_id}/labels",
        "Replace the sensitivity labels of a memory",
        set_labels,
        {200: Memory},
        tag="Memories",
        path_fields=LabelledMemoryPath,
        body=LabelsSet,
        errors=(404, 413, 422, 503),
    ),
    Operation(
        "PATCH",
        "/admin/memories/{memory_id}/labels",
        "Replace the sensitivity labels of any memory",
        set_labels_anywhere,
        {200: MemoryView},
        tag="Labels",
        path_fields=LabelledMemoryPath,
        query=TenantQuery,
        body=LabelsSet,
        errors=(400, 404, 413, 422, 503),
    ),
    Operation(
        "GET",
        "/admin/memories/with-suggested-labels",
        "Memories for which labels are suggested",
        suggested,
        {200: SuggestedPage},
        tag="Labels",
        query=SuggestedQuery,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        "/admin/memories/{memory_id}/promote-labels",
        "Make suggested labels of a memory authoritative",
        promote,
        {200: Promoted},
        tag="Labels",
        path_fields=LabelledMemoryPath,
        query=TenantQuery,
        body=LabelsNamed,
        errors=(400, 404, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/memories/{memory_id}/dismiss-labels",
        "Take suggestions off a memory",
        dismiss,
        {200: Dismissed},
        tag="Labels",
        path_fields=LabelledMemoryPath,
        query=TenantQuery,
        body=LabelsNamed,
        errors=(400, 404, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/suggested-labels/promote",
        "Promote suggestions of all memories that match",
        promote_many,
        {200: Settled},
        tag="Labels",
        body=BulkSettle,
        errors=(400, 409, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/suggested-labels/dismiss",
        "Dismiss suggestions of all memories that match",
        dismiss_many,
        {200: Settled},
        tag="Labels",
        body=BulkSettle,
        errors=(400, 409, 413, 422, 503),
    ),
]
