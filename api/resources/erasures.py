"""Erasing subjects and memories as an operator, and the ledger of all erasures."""

from __future__ import annotations

import msgspec

from api.operations import Call, Operation
from api.schemas.erasures import (
    BulkDelete,
    BulkDeleted,
    DeletePreview,
    EraseMemoryQuery,
    EraseQuery,
    ErasureEntry,
    ErasureList,
    ErasurePath,
    ErasuresQuery,
    MatchFilter,
    MemoryToErase,
    Prove,
    SubjectErased,
)
from api.schemas.subjects import SubjectPath
from api.tenants import named_tenant, tenant_of_subject
from config.errors import BadRequest
from pipelines import bulk_erasure, erasure_ledger, erasure_proof
from pipelines.erasure import Asked, Erasure, erase_memory, erase_subject
from pipelines.erasure_proof import Proof
from pipelines.erasure_receipts import ErasureVerification
from storage.erasures import ErasureRow
from storage.subject_filters import SubjectFilter


def delete_subject(call: Call) -> SubjectErased:
    tenant_id = tenant_of_subject(call)
    return _erased(erase_subject(call.services, tenant_id, call.path.subject_id, asked=_asked(call, call.query.reason)))


def delete_memory(call: Call) -> SubjectErased:
    done = erase_memory(
        call.services,
        call.path.memory_id,
        tenant_id=named_tenant(call, call.query.tenant_id),
        with_episodes=call.query.with_episodes,
        asked=_asked(call, call.query.reason),
        admit=call.request.serve_tenant,
    )
    return _erased(done)


def preview_delete(call: Call) -> DeletePreview:
    matched, sample = bulk_erasure.preview(call.services, _filter(call))
    return DeletePreview(
        matched=matched.subjects,
        sample=list(sample),
        total_episodes=matched.episodes,
        total_memories=matched.memories,
    )


def bulk_delete(call: Call) -> BulkDeleted:
    which = _filter(call)
    if not call.body.confirm:
        raise BadRequest("this erases for good: say confirm true")
    done = bulk_erasure.erase_matching(
        call.services, which, expected_count=call.body.expected_count, asked=_asked(call, call.body.reason)
    )
    return BulkDeleted(
        deleted_subjects=done.subjects,
        deleted_episodes=done.episodes,
        deleted_memories=done.memories,
        failed=done.failed,
        remaining=done.remaining,
        part_of=done.part_of,
    )


def list_page(call: Call) -> ErasureList:
    query = call.query
    page, cursor = erasure_ledger.list_erasures(
        call.services,
        tenant_id=named_tenant(call, call.query.tenant_id),
        subject_id=query.subject_id,
        state=query.state,
        cursor=query.cursor,
        limit=query.limit,
    )
    return ErasureList(erasures=[_entry(row) for row in page], next_cursor=cursor, limit=query.limit)


def show(call: Call) -> ErasureEntry:
    return _entry(erasure_ledger.show_erasure(call.services, call.path.erasure_id, tenant_id=named_tenant(call, None)))


def verify(call: Call) -> ErasureVerification:
    return erasure_ledger.verify_erasure(call.services, call.path.erasure_id, tenant_id=named_tenant(call, None))


def prove(call: Call) -> ErasureEntry:
    return _entry(
        erasure_proof.prove_now(
            call.services,
            call.path.erasure_id,
            subject_id=call.body.subject_id,
            tenant_id=named_tenant(call, None),
            by=call.principal.name,
            request_id=call.request_id,
        )
    )


def _asked(call: Call, reason: str) -> Asked:
    return Asked(by=call.principal.name, reason=reason, request_id=call.request_id)


def _filter(call: Call) -> SubjectFilter:
    body = call.body
    return bulk_erasure.filter_of(
        tenant_id=named_tenant(call, body.tenant_id),
        prefix=body.subject_id_prefix,
        older_than_days=body.older_than_days,
        match_all=body.match_all,
    )


def _erased(done: Erasure) -> SubjectErased:
    return SubjectErased(
        subject_id=done.subject_id,
        episodes_deleted=done.episodes,
        memories_deleted=done.memories,
        erasure_id=done.erasure_id,
    )


def _entry(row: ErasureRow) -> ErasureEntry:
    return ErasureEntry(
        id=row.id,
        tenant_id=row.tenant_id,
        scope=row.scope,
        erased_at=row.erased_at,
        receipt=row.receipt,
        state=row.state,
        proof=msgspec.json.decode(row.proof, type=Proof) if row.proof is not None else None,
        proved_at=row.proved_at,
    )


OPERATIONS = [
    Operation(
        "DELETE",
        "/admin/subjects/{subject_id:path}",
        "Erase a subject: every row of it, in every table",
        delete_subject,
        {200: SubjectErased},
        tag="Operators",
        path_fields=SubjectPath,
        query=EraseQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "DELETE",
        "/admin/memories/{memory_id}",
        "Erase one memory with its history and what was made from it",
        delete_memory,
        {200: SubjectErased},
        tag="Operators",
        path_fields=MemoryToErase,
        query=EraseMemoryQuery,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/subjects/preview-delete",
        "What a deletion by filter would erase",
        preview_delete,
        {200: DeletePreview},
        tag="Operators",
        body=MatchFilter,
        scope="read",
        errors=(413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/subjects/bulk-delete",
        "Erase all subjects that a filter means",
        bulk_delete,
        {200: BulkDeleted},
        tag="Operators",
        body=BulkDelete,
        errors=(409, 413, 422, 503),
    ),
    Operation(
        "GET",
        "/admin/erasures",
        "The ledger of erasures",
        list_page,
        {200: ErasureList},
        tag="Operators",
        query=ErasuresQuery,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/admin/erasures/{erasure_id}",
        "One erasure with its receipt and its proof",
        show,
        {200: ErasureEntry},
        tag="Operators",
        path_fields=ErasurePath,
        errors=(404, 422, 503),
    ),
    Operation(
        "GET",
        "/admin/erasures/{erasure_id}/verify",
        "Check the signature of an erasure's receipt",
        verify,
        {200: ErasureVerification},
        tag="Operators",
        path_fields=ErasurePath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/erasures/{erasure_id}/prove",
        "Look again, everywhere, for what was erased",
        prove,
        {200: ErasureEntry},
        tag="Operators",
        path_fields=ErasurePath,
        body=Prove,
        errors=(404, 413, 422, 503),
    ),
]
