"""Subjects and their timelines."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.subjects import SubjectDeleted, SubjectList, SubjectPath, SubjectsQuery
from api.schemas.timeline import MAX_PAGE, Timeline, TimelineQuery
from pipelines.erasure import Asked, erase_subject
from pipelines.policy.in_force import caller_of
from pipelines.subjects import list_subjects
from pipelines.timeline import read_timeline


def list_page(call: Call) -> SubjectList:
    page, total = list_subjects(
        call.services,
        call.tenant_id,
        limit=call.query.limit,
        offset=call.query.offset,
        caller=caller_of(call.principal),
    )
    return SubjectList(subjects=page, total=total)


def delete(call: Call) -> SubjectDeleted:
    subject_id = call.path.subject_id
    asked = Asked(by=call.principal.name, request_id=call.request_id)
    done = erase_subject(call.services, call.tenant_id, subject_id, asked=asked)
    return SubjectDeleted(subject_id=subject_id, episodes_deleted=done.episodes, memories_deleted=done.memories)


def timeline(call: Call) -> Timeline:
    query = call.query
    page = read_timeline(
        call.services,
        call.tenant_id,
        subject_id=query.subject_id,
        limit=min(query.limit, MAX_PAGE),
        offset=query.offset,
        newest_first=query.newest_first,
        status=query.status,
        since=query.since,
        until=query.until,
        kinds=query.kinds,
        caller=caller_of(call.principal, query.caller_id, query.caller_type),
    )
    return Timeline(
        subject_id=query.subject_id,
        episodes=page.episodes,
        memories=page.memories,
        episodes_has_more=page.episodes_has_more,
        memories_has_more=page.memories_has_more,
    )


OPERATIONS = [
    Operation(
        "GET",
        "/v1/subjects",
        "List subjects",
        list_page,
        {200: SubjectList},
        tag="Subjects",
        query=SubjectsQuery,
        errors=(422, 503),
    ),
    Operation(
        "DELETE",
        "/v1/subjects/{subject_id:path}",
        "Forget a subject: every row of it, in every table",
        delete,
        {200: SubjectDeleted},
        tag="Subjects",
        path_fields=SubjectPath,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/v1/timeline",
        "Episodes and memories of a subject, page by page",
        timeline,
        {200: Timeline},
        tag="Subjects",
        query=TimelineQuery,
        errors=(422, 503),
    ),
]
