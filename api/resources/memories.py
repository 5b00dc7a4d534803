"""Compiling and searching memories."""

from __future__ import annotations

from api.operations import Call, Operation, Reply
from api.quotas import require_quota
from api.schemas.memories import (
    CompileAccepted,
    CompileJob,
    CompileJobPath,
    CompileRequest,
    CompileResult,
    JobStatus,
    SearchQuery,
    SearchResult,
)
from pipelines.compile import compile_now, compile_status, request_compile
from pipelines.search import search_memories

_STATUS: dict[str, JobStatus] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}


def compile_subject(call: Call) -> CompileResult | Reply:
    subject_id = call.body.subject_id
    if call.body.asynchronous:
        run, attached = request_compile(call.services, call.tenant_id, subject_id, request_id=call.request_id)
        accepted = CompileAccepted(
            job_id=str(run.id), status=_STATUS[run.state], subject_id=subject_id, attached=attached
        )
        return Reply(accepted, 202)
    outcome = compile_now(call.services, call.tenant_id, subject_id, request_id=call.request_id)
    return CompileResult(
        subject_id=subject_id,
        memories_created=len(outcome.memories),
        memories=outcome.memories,
        has_more=outcome.has_more,
        remaining_episodes=outcome.remaining_episodes,
    )


def job(call: Call) -> CompileJob:
    status = compile_status(call.services, call.tenant_id, call.path.job_id)
    return CompileJob(
        job_id=str(status.run.id),
        status=_STATUS[status.run.state],
        subject_id=status.run.subject_id or "",
        memories_created=len(status.memories),
        memories=status.memories,
        error=status.run.error if status.run.state in ("failed", "cancelled") else None,
    )


def search(call: Call) -> SearchResult:
    query = call.query
    require_quota(call.services, call.request, "searches")
    outcome = search_memories(
        call.services,
        call.tenant_id,
        subject_id=query.subject_id,
        query=query.q,
        kind=query.kind,
        semantic=query.semantic,
        limit=query.limit,
    )
    call.services.usage.count(call.tenant_id, "searches")
    return SearchResult(memories=outcome.memories, search_mode=outcome.search_mode)


OPERATIONS = [
    Operation(
        "POST",
        "/v1/memories/compile",
        "Compile a subject's waiting episodes into memories",
        compile_subject,
        {200: CompileResult, 202: CompileAccepted},
        tag="Memories",
        body=CompileRequest,
        errors=(409, 413, 422, 503),
        description="With `async` the answer is 202 and a job to ask after.",
    ),
    Operation(
        "GET",
        "/v1/memories/compile/{job_id}",
        "How far a compile job is",
        job,
        {200: CompileJob},
        tag="Memories",
        path_fields=CompileJobPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "GET",
        "/v1/memories/search",
        "Search a subject's active memories",
        search,
        {200: SearchResult},
        tag="Memories",
        query=SearchQuery,
        errors=(422, 503),
    ),
]
