"""What operators see of subjects. A tenant is named by `tenant_id`, else by the tenant header, else it is found."""

from __future__ import annotations

from typing import Any

import msgspec

from api.operations import Call, Operation
from api.schemas.admin_subjects import (
    AdminServiceLevels,
    EpisodePath,
    EpisodeViews,
    EpisodeViewsQuery,
    MemoryPath,
    MemoryViews,
    MemoryViewsQuery,
    PageQuery,
    RestoreQuery,
    SessionPath,
    SubjectViews,
    SubjectViewsQuery,
    TenantQuery,
    TimelineLimitQuery,
)
from api.schemas.subjects import SubjectPath
from api.tenants import named_tenant, tenant_of_subject
from pipelines import subject_views
from pipelines.policy.in_force import viewer_of
from pipelines.restoration import restore_memory
from pipelines.subject_views import MemoryEvolution, SubjectDetail
from pipelines.support.figures import read_service_levels
from pipelines.support.session_timeline import SessionTimeline, session_timeline
from storage.rows import Memory


def list_page(call: Call) -> SubjectViews:
    query = call.query
    page, total = subject_views.list_views(
        call.services,
        tenant_id=named_tenant(call, query.tenant_id),
        search=query.search,
        health_state=query.health_state,
        has_open_sessions=query.has_open_sessions,
        sort_by=query.sort_by,
        descending=query.sort_order == "desc",
        limit=query.limit,
        offset=query.offset,
    )
    return SubjectViews(subjects=list(page), total=total, limit=query.limit, offset=query.offset)


def detail(call: Call) -> SubjectDetail:
    return subject_views.subject_detail(
        call.services, tenant_of_subject(call), call.path.subject_id, viewer=viewer_of(call.principal)
    )


def sla(call: Call) -> AdminServiceLevels:
    tenant_id = tenant_of_subject(call)
    levels = read_service_levels(call.services, tenant_id, call.path.subject_id)
    return AdminServiceLevels(tenant_id=tenant_id, **msgspec.structs.asdict(levels))


def memories(call: Call) -> MemoryViews:
    query = call.query
    page, total = subject_views.list_memories(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        status=None if query.status == "all" else query.status,
        kind=query.kind,
        search=query.search,
        **_page(call),
    )
    return MemoryViews(memories=page, total=total, limit=query.limit, offset=query.offset)


def episodes(call: Call) -> EpisodeViews:
    query = call.query
    page, total = subject_views.list_episodes(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        session_id=query.session_id,
        type=query.type,
        search=query.search,
        **_page(call),
    )
    return EpisodeViews(episodes=page, total=total, limit=query.limit, offset=query.offset)


def citing_memories(call: Call) -> MemoryViews:
    query = call.query
    page, total = subject_views.citing_memories(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        call.path.episode_id,
        **_page(call),
    )
    return MemoryViews(memories=page, total=total, limit=query.limit, offset=query.offset)


def related(call: Call) -> MemoryEvolution:
    return subject_views.memory_evolution(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        call.path.memory_id,
        viewer=viewer_of(call.principal),
    )


def restore(call: Call) -> Memory:
    return restore_memory(
        call.services.pool,
        tenant_of_subject(call),
        call.path.subject_id,
        call.path.memory_id,
        instead=call.query.instead,
        actor=call.principal.name,
        request_id=call.request_id,
    )


def timeline(call: Call) -> SessionTimeline:
    return session_timeline(
        call.services,
        tenant_of_subject(call),
        call.path.subject_id,
        call.path.session_id,
        limit=call.query.limit,
        viewer=viewer_of(call.principal),
    )


def _page(call: Call) -> dict[str, Any]:
    """Which part of a list, for whom."""
    return {"limit": call.query.limit, "offset": call.query.offset, "viewer": viewer_of(call.principal)}


_SUBJECT = "/admin/subjects/{subject_id:path}"

OPERATIONS = [
    Operation(
        "GET",
        "/admin/subjects",
        "List subjects with their health and sessions",
        list_page,
        {200: SubjectViews},
        tag="Operators",
        query=SubjectViewsQuery,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        _SUBJECT,
        "One subject with its figures",
        detail,
        {200: SubjectDetail},
        tag="Operators",
        path_fields=SubjectPath,
        query=TenantQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/sla",
        "Service levels of a subject, session by session",
        sla,
        {200: AdminServiceLevels},
        tag="Operators",
        path_fields=SubjectPath,
        query=TenantQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/memories",
        "Memories of a subject, also those that were superseded",
        memories,
        {200: MemoryViews},
        tag="Operators",
        path_fields=SubjectPath,
        query=MemoryViewsQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/episodes",
        "Episodes of a subject",
        episodes,
        {200: EpisodeViews},
        tag="Operators",
        path_fields=SubjectPath,
        query=EpisodeViewsQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/episodes/{{episode_id}}/citing-memories",
        "Memories that were taken from an episode",
        citing_memories,
        {200: MemoryViews},
        tag="Operators",
        path_fields=EpisodePath,
        query=PageQuery,
        errors=(409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/memories/{{memory_id}}/related",
        "What a memory replaced, what replaced it, and what came from the same episodes",
        related,
        {200: MemoryEvolution},
        tag="Operators",
        path_fields=MemoryPath,
        query=TenantQuery,
        errors=(404, 409, 422, 503),
    ),
    Operation(
        "POST",
        f"{_SUBJECT}/memories/{{memory_id}}/restore",
        "Make a superseded memory active again",
        restore,
        {200: Memory},
        tag="Operators",
        path_fields=MemoryPath,
        query=RestoreQuery,
        errors=(404, 409, 422, 503),
    ),
    Operation(
        "GET",
        f"{_SUBJECT}/sessions/{{session_id:path}}/timeline",
        "A session in full: episodes, resolutions and service levels",
        timeline,
        {200: SessionTimeline},
        tag="Operators",
        path_fields=SessionPath,
        query=TimelineLimitQuery,
        errors=(409, 422, 503),
    ),
]
