"""Compile jobs for operators, as the contract has them (governance §9.5)."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.runs import Job, JobList, JobsDeleted, JobsQuery, JobsReset, PurgeQuery, RunPath, StuckQuery
from api.tenants import named_tenant
from config.errors import BadRequest
from pipelines import operations
from pipelines.compile_runs import COMPILE
from storage.rows import Run
from storage.run_operations import RunFilter

#: States of a run as the wire names them, and which states a status means.
_STATUS = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
_STATES = {status: tuple(state for state, wire in _STATUS.items() if wire == status) for status in _STATUS.values()}


def jobs(call: Call) -> JobList:
    query = call.query
    which = _which(query.status, query.subject_id, named_tenant(call, query.tenant_id))
    page, total = operations.page_jobs(call.services.pool, which, limit=query.limit, offset=query.offset)
    return JobList(jobs=[_job(run) for run in page], total=total, limit=query.limit, offset=query.offset)


def purge(call: Call) -> JobsDeleted:
    query = call.query
    if query.status is None and query.subject_id is None and query.tenant_id is None:
        raise BadRequest("name at least one of status, subject_id and tenant_id")
    if query.status not in (None, "completed", "failed"):
        raise BadRequest("only completed and failed jobs can be deleted")
    which = _which(query.status, query.subject_id, named_tenant(call, query.tenant_id))
    return JobsDeleted(deleted=operations.purge_finished(call.services.pool, which))


def delete(call: Call) -> JobsDeleted:
    operations.delete_run(call.services.pool, call.path.run_id, kind=COMPILE)
    return JobsDeleted(deleted=1)


def reset_stuck(call: Call) -> JobsReset:
    reset = operations.reset_stuck(call.services.pool, older_than_minutes=call.query.older_than_minutes)
    return JobsReset(reset=len(reset), job_ids=reset)


def _which(status: str | None, subject_id: str | None, tenant_id: str | None) -> RunFilter:
    states = _STATES[status] if status else None
    return RunFilter(kind=COMPILE, states=states, subject_id=subject_id, tenant_id=tenant_id)


def _job(run: Run) -> Job:
    return Job(
        job_id=run.id,
        subject_id=run.subject_id,
        tenant_id=run.tenant_id or None,
        status=_STATUS[run.state],  # type: ignore[arg-type]
        memories_created=int((run.result or {}).get("memories_created", 0)),
        error=run.error if run.state in ("failed", "cancelled") else None,
        created_at=run.created_at,
        started_at=run.started_at,
        completed_at=run.finished_at,
    )


OPERATIONS = [
    Operation(
        "GET",
        "/admin/jobs",
        "List compile jobs",
        jobs,
        {200: JobList},
        tag="Operators",
        query=JobsQuery,
        errors=(422, 503),
    ),
    Operation(
        "DELETE",
        "/admin/jobs",
        "Delete finished compile jobs",
        purge,
        {200: JobsDeleted},
        tag="Operators",
        query=PurgeQuery,
        errors=(400, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/jobs/reset-stuck",
        "Take jobs from workers that have been at them for too long",
        reset_stuck,
        {200: JobsReset},
        tag="Operators",
        query=StuckQuery,
        errors=(422, 503),
    ),
    Operation(
        "DELETE",
        "/admin/jobs/{run_id}",
        "Delete one finished compile job",
        delete,
        {200: JobsDeleted},
        tag="Operators",
        path_fields=RunPath,
        errors=(404, 409, 422, 503),
    ),
]
