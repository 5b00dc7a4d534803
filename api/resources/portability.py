"""Exporting a subject, and importing one."""

from __future__ import annotations

from api.inputs import body_lines
from api.operations import Call, Operation, Stream
from api.schemas.portability import (
    CloneDone,
    CloneRequest,
    ExportedSubject,
    ExportQuery,
    ImportLinesQuery,
    ImportRequest,
)
from api.schemas.subjects import SubjectPath
from api.tenants import named_tenant, tenant_of_subject
from config.errors import BadRequest
from pipelines import subject_views
from pipelines.portability.cloning import clone
from pipelines.portability.export import export_subject
from pipelines.portability.importing import Imported, Wishes, import_document
from pipelines.portability.reading import LONGEST_LINE, Lines, WholeDocument

#: What each form is called.
_FORMS = {"json": ("application/json", "json"), "jsonl": ("application/jsonl", "jsonl")}


def export(call: Call) -> Stream:
    query = call.query
    if query.format == "jsonl" and query.format_version == "1.0":
        raise BadRequest("version 1.0 is one JSON object")
    if query.include_receipts and query.format_version == "1.0":
        raise BadRequest("version 1.0 has no place for receipts")
    pieces = export_subject(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        form=query.format,
        version=query.format_version,
        with_receipts=query.include_receipts,
        by=call.principal.name,
        request_id=call.request_id,
    )
    content_type, ending = _FORMS[query.format]
    return Stream(pieces, content_type, f"subject.{ending}")


def import_one(call: Call) -> Imported:
    body = call.body
    return import_document(
        call.services, WholeDocument(body.document), _wishes(call, body), admit=call.request.serve_tenant
    )


def import_lines(call: Call) -> Imported:
    lines = Lines(body_lines(call.request, LONGEST_LINE))
    if not lines.next_document():
        raise BadRequest("the body holds no document")
    return import_document(call.services, lines, _wishes(call, call.query), admit=call.request.serve_tenant)


def clone_subject(call: Call) -> CloneDone:
    body = call.body
    tenant_id = subject_views.tenant_of(call.services, body.source_subject_id, named_tenant(call, body.tenant_id))
    target = tenant_id if body.target_tenant_id is None else named_tenant(call, body.target_tenant_id) or ""
    call.request.serve_tenant(tenant_id)
    call.request.serve_tenant(target)
    done = clone(
        call.services,
        tenant_id,
        body.source_subject_id,
        target_subject_id=body.target_subject_id,
        target_tenant_id=target,
        scope=body.clone_scope,
        by=call.principal.name,
        request_id=call.request_id,
    )
    return CloneDone(
        status="cloned",
        source_subject_id=body.source_subject_id,
        target_subject_id=body.target_subject_id,
        target_tenant_id=target or None,
        target_display_name=body.target_display_name,
        clone_scope=body.clone_scope,
        episode_count=done.imported.episodes_imported,
        memory_count=done.imported.memories_imported,
        source_count=0,
        cloned_at=done.cloned_at,
    )


def _wishes(call: Call, said: ImportRequest | ImportLinesQuery) -> Wishes:
    return Wishes(
        target_subject_id=said.target_subject_id,
        target_tenant_id=named_tenant(call, said.target_tenant_id),
        preserve_ids=said.preserve_ids,
        include_erased=said.include_erased,
        by=call.principal.name,
        request_id=call.request_id,
    )


OPERATIONS = [
    Operation(
        "GET",
        "/admin/export/{subject_id:path}",
        "A subject as a document, lossless",
        export,
        {200: ExportedSubject},
        tag="Operators",
        path_fields=SubjectPath,
        query=ExportQuery,
        errors=(404, 409, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/import",
        "Take in an exported subject",
        import_one,
        {200: Imported},
        tag="Operators",
        body=ImportRequest,
        errors=(413, 422, 503),
        description="What is there already stays. What was erased stays erased, unless `include_erased` is true.",
    ),
    Operation(
        "POST",
        "/admin/import/lines",
        "Take in an exported subject of any size, as JSON lines",
        import_lines,
        {200: Imported},
        tag="Operators",
        query=ImportLinesQuery,
        errors=(413, 422, 503),
        description="The body is what `GET /admin/export/{subject_id}?format=jsonl` answered. It is read line by line.",
    ),
    Operation(
        "POST",
        "/admin/memory/clone",
        "Copy a subject under another id or into another tenant",
        clone_subject,
        {200: CloneDone},
        tag="Operators",
        body=CloneRequest,
        errors=(400, 404, 409, 413, 422, 503),
        description="With its labels, sessions and history; with new ids; to where nothing is yet.",
    ),
]
