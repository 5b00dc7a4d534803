"""Runs, queues, dead letters and schedules for operators."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.runs import (
    DeadLettersQuery,
    Migrations,
    PauseQuery,
    QueueList,
    QueuePath,
    RunList,
    RunPath,
    RunsQuery,
    RunsRetried,
    ScheduleList,
)
from api.tenants import named_tenant
from pipelines import operations, schedules
from pipelines.schema import schema
from storage.run_operations import RunDetail, RunFilter


def queues(call: Call) -> QueueList:
    return QueueList(queues=operations.list_queues(call.services.pool))


def pause(call: Call) -> QueueList:
    operations.pause_queue(call.services.pool, call.path.queue, reason=call.query.reason)
    return queues(call)


def resume(call: Call) -> QueueList:
    operations.resume_queue(call.services.pool, call.path.queue)
    return queues(call)


def runs(call: Call) -> RunList:
    query = call.query
    which = RunFilter(
        states=(query.state,) if query.state else None,
        queue=query.queue,
        kind=query.kind,
        tenant_id=named_tenant(call, query.tenant_id),
        subject_id=query.subject_id,
        quarantined=query.quarantined,
    )
    page, cursor = operations.list_runs(call.services.pool, which, cursor=query.cursor, limit=query.limit)
    return RunList(runs=page, next_cursor=cursor)


def show(call: Call) -> RunDetail:
    return operations.show_run(call.services.pool, call.path.run_id)


def retry(call: Call) -> RunDetail:
    return operations.retry_run(call.services.pool, call.path.run_id)


def cancel(call: Call) -> RunDetail:
    return operations.cancel_run(call.services.pool, call.path.run_id)


def retry_all(call: Call) -> RunsRetried:
    query = call.query
    which = RunFilter(
        queue=query.queue,
        kind=query.kind,
        tenant_id=named_tenant(call, query.tenant_id),
        subject_id=query.subject_id,
        quarantined=query.quarantined,
    )
    return RunsRetried(retried=operations.retry_dead_letters(call.services.pool, which))


def list_schedules(call: Call) -> ScheduleList:
    return ScheduleList(schedules=schedules.list_schedules(call.services.pool))


def migrations(call: Call) -> Migrations:
    state = schema(call.services)
    return Migrations(
        current_revision=state.current,
        expected_head=state.expected,
        is_compatible=state.is_compatible,
        pending_count=len(state.pending),
        pending_revisions=list(state.pending),
        error=None if state.is_compatible else state.summary,
        summary=state.summary,
    )


OPERATIONS = [
    Operation(
        "GET",
        "/admin/queues",
        "Depth, age, speed and dead letters of every queue",
        queues,
        {200: QueueList},
        tag="Operators",
        errors=(503,),
    ),
    Operation(
        "POST",
        "/admin/queues/{queue}/pause",
        "Hand out nothing of a queue any more",
        pause,
        {200: QueueList},
        tag="Operators",
        path_fields=QueuePath,
        query=PauseQuery,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        "/admin/queues/{queue}/resume",
        "Hand out again",
        resume,
        {200: QueueList},
        tag="Operators",
        path_fields=QueuePath,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/admin/runs",
        "List runs, the newest first",
        runs,
        {200: RunList},
        tag="Operators",
        query=RunsQuery,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        "/admin/runs/retry",
        "Make dead letters due again",
        retry_all,
        {200: RunsRetried},
        tag="Operators",
        query=DeadLettersQuery,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/admin/runs/{run_id}",
        "A run with its stages, attempts and errors",
        show,
        {200: RunDetail},
        tag="Operators",
        path_fields=RunPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/runs/{run_id}/retry",
        "Make a failed or cancelled run due again",
        retry,
        {200: RunDetail},
        tag="Operators",
        path_fields=RunPath,
        errors=(404, 409, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/runs/{run_id}/cancel",
        "End a run that is not finished",
        cancel,
        {200: RunDetail},
        tag="Operators",
        path_fields=RunPath,
        errors=(404, 409, 422, 503),
    ),
    Operation(
        "GET",
        "/admin/schedules",
        "What happens at regular times, with the last and the next tick",
        list_schedules,
        {200: ScheduleList},
        tag="Operators",
        errors=(503,),
    ),
    Operation(
        "GET",
        "/ops/migrations",
        "Whether the database's schema is the one this server needs",
        migrations,
        {200: Migrations},
        tag="Operators",
        errors=(503,),
    ),
]
