"""Sessions and how they ended, health, service levels, handoffs."""

from __future__ import annotations

from api.operations import Call, Operation
from api.quotas import count_delivery, require_delivery
from api.schemas.subjects import SubjectPath
from api.schemas.support import (
    HandoffCreate,
    LevelsQuery,
    ResolutionCreate,
    ResolutionsQuery,
    SubjectHealth,
)
from pipelines.support.figures import read_health, read_service_levels
from pipelines.support.handoff import Handoff, hand_over
from pipelines.support.resolutions import list_resolutions, record_resolution
from pipelines.support.sla import ServiceLevels
from storage.resolutions import Resolution


def resolve(call: Call) -> Resolution:
    told = call.body
    return record_resolution(
        call.services,
        call.tenant_id,
        subject_id=told.subject_id,
        session_id=told.session_id,
        status=told.status,
        summary=told.resolution_summary,
        metadata=told.metadata,
        resolved_at=told.resolved_at,
    )


def resolutions(call: Call) -> list[Resolution]:
    query = call.query
    return list_resolutions(
        call.services,
        call.tenant_id,
        subject_id=query.subject_id,
        status=query.status,
        limit=query.limit,
        offset=query.offset,
    )


def handoff(call: Call) -> Handoff:
    asked = call.body
    require_delivery(call)
    brief = hand_over(
        call.services,
        call.tenant_id,
        subject_id=asked.subject_id,
        session_id=asked.session_id,
        reason=asked.reason,
        max_tokens=asked.max_tokens,
    )
    count_delivery(call, brief.token_estimate)
    return brief


def health(call: Call) -> SubjectHealth:
    subject_id = call.path.subject_id
    found = read_health(call.services, call.tenant_id, subject_id)
    return SubjectHealth(subject_id=subject_id, score=found.score, state=found.state, factors=found.factors)


def sla(call: Call) -> ServiceLevels:
    return read_service_levels(
        call.services,
        call.tenant_id,
        call.path.subject_id,
        first_response_minutes=call.query.first_response_threshold_minutes,
        resolution_hours=call.query.resolution_threshold_hours,
    )


OPERATIONS = [
    Operation(
        "POST",
        "/v1/resolutions",
        "Record how a session stands",
        resolve,
        {200: Resolution},
        tag="Support",
        body=ResolutionCreate,
        errors=(413, 422, 503),
        description="A session has one record; what it was before stays in its history.",
    ),
    Operation(
        "GET",
        "/v1/resolutions",
        "How a subject's sessions ended",
        resolutions,
        {200: list[Resolution]},
        tag="Support",
        query=ResolutionsQuery,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        "/v1/handoff",
        "Hand a session over: a brief for the colleague who goes on",
        handoff,
        {200: Handoff},
        tag="Support",
        body=HandoffCreate,
        errors=(413, 422, 503),
    ),
    Operation(
        "GET",
        "/v1/subjects/{subject_id:path}/health",
        "How a subject is, and why",
        health,
        {200: SubjectHealth},
        tag="Support",
        path_fields=SubjectPath,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/v1/subjects/{subject_id:path}/sla",
        "How soon a subject's sessions were answered and resolved",
        sla,
        {200: ServiceLevels},
        tag="Support",
        path_fields=SubjectPath,
        query=LevelsQuery,
        errors=(422, 503),
    ),
]
