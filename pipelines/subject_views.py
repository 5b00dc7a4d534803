"""What operators see of subjects: the list, and each subject with its health, sessions and lineage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import BadRequest, Conflict, NotFound
from pipelines.policy.evaluation import Caller
from pipelines.policy.in_force import viewing_as
from pipelines.services import Services
from pipelines.support.facts import load_facts
from pipelines.support.health import Health, assess
from pipelines.support.sla import ServiceLevels, service_levels
from storage import lineage, subject_views
from storage.lineage import MemoryView, RelatedMemory
from storage.rows import Episode
from storage.subject_views import SortKey, SubjectView
from storage.transactions import operator_transaction

#: Memories named beside one (governance §9.3).
MOST_SUPERSEDED, MOST_SIBLINGS = 5, 10

HealthFilter = Literal["healthy", "watch", "at_risk", "unknown"]


class SubjectSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a subject; all zero for an unknown one."""

    episode_count: int = 0
    memory_count: int = 0
    session_count: int = 0
    first_seen_at: datetime | None = None
    last_activity_at: datetime | None = None


class SubjectDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One subject with its figures; null where nothing is stored of it."""

    subject_id: str
    tenant_id: str
    summary: SubjectSummary
    health: Health | None
    sla: ServiceLevels | None


class MemoryEvolution(msgspec.Struct, frozen=True, kw_only=True):
    """A memory among those it replaced, that replaced it, and that came from the same episodes."""

    memory_id: UUID
    status: str
    created_at: datetime
    superseding_memory: RelatedMemory | None
    superseded_memories: list[RelatedMemory]
    sibling_memories: list[RelatedMemory]
    source_episode_count: int


def list_views(
    services: Services,
    *,
    tenant_id: str | None,
    search: str | None = None,
    health_state: HealthFilter | None = None,
    has_open_sessions: bool | None = None,
    sort_by: SortKey = "subject_id",
    descending: bool = False,
    limit: int = 50,
    offset: int = 0,
) -> tuple[Sequence[SubjectView], int]:
    """One page of subjects of one tenant or of all, and how many match."""
    with operator_transaction(services.pool) as conn:
        return subject_views.list_subject_views(
            conn,
            tenant_id=tenant_id,
            search=search,
            health_state=health_state,
            has_open_sessions=has_open_sessions,
            sort_by=sort_by,
            descending=descending,
            limit=limit,
            offset=offset,
        )


def tenant_of(services: Services, subject_id: str, tenant_id: str | None) -> str:
    """The tenant an operator means: the one that is named, else the only one that has the subject.

    Raises:
        Conflict: when several tenants have a subject of this id and none is named.
    """
    if tenant_id is not None:
        return tenant_id
    with operator_transaction(services.pool, everywhere=True) as conn:
        tenants = subject_views.find_tenants(conn, subject_id)
    if len(tenants) > 1:
        raise Conflict(f"several tenants have a subject {subject_id}; name one with tenant_id")
    return tenants[0] if tenants else ""


def subject_detail(
    services: Services, tenant_id: str, subject_id: str, *, viewer: Caller | None = None
) -> SubjectDetail:
    """One subject with its health and service levels.

    Args:
        viewer: Here and below, for whom a policy holds: whoever looks with a tenant's key; None for operators.
    """
    now = utcnow()
    with viewing_as(services, tenant_id, subject_id, viewer) as (conn, visibility):
        counters = subject_views.find_counters(conn, tenant_id, subject_id)
        snapshot = load_facts(conn, tenant_id, subject_id)
    if counters is None:
        return SubjectDetail(
            subject_id=subject_id, tenant_id=tenant_id, summary=SubjectSummary(), health=None, sla=None
        )
    return SubjectDetail(
        subject_id=subject_id,
        tenant_id=tenant_id,
        summary=SubjectSummary(
            episode_count=visibility.listed_episodes.count(counters.episode_count),
            memory_count=visibility.listed_memories.count(counters.memory_count),
            session_count=sum(session.episodes > 0 for session in snapshot.facts.sessions),
            first_seen_at=counters.created_at,
            last_activity_at=counters.last_episode_at,
        ),
        health=assess(snapshot.facts, now=now),
        sla=service_levels(snapshot.facts, subject_id=subject_id, now=now),
    )


def list_memories(
    services: Services,
    tenant_id: str,
    subject_id: str,
    *,
    status: str | None = None,
    kind: str | None = None,
    search: str | None = None,
    limit: int = 50,
    offset: int = 0,
    viewer: Caller | None = None,
) -> tuple[list[MemoryView], int]:
    """One page of a subject's memories, newest first, and how many match."""
    with viewing_as(services, tenant_id, subject_id, viewer) as (conn, visibility):
        page, total = lineage.memory_views(
            conn,
            tenant_id,
            subject_id,
            status=status,
            kind=kind,
            search=search,
            limit=limit,
            offset=offset,
            selection=visibility.searched_memories if search else visibility.listed_memories,
        )
    return [visibility.shown_view(view) for view in page], total


def list_episodes(
    services: Services,
    tenant_id: str,
    subject_id: str,
    *,
    session_id: str | None = None,
    type: str | None = None,
    search: str | None = None,
    limit: int = 50,
    offset: int = 0,
    viewer: Caller | None = None,
) -> tuple[list[Episode], int]:
    """One page of a subject's episodes, newest first, and how many match."""
    with viewing_as(services, tenant_id, subject_id, viewer) as (conn, visibility):
        return lineage.episode_views(
            conn,
            tenant_id,
            subject_id,
            session_id=session_id,
            type=type,
            search=search,
            limit=limit,
            offset=offset,
            selection=visibility.listed_episodes,
        )


def citing_memories(
    services: Services,
    tenant_id: str,
    subject_id: str,
    episode_id: str,
    *,
    limit: int = 50,
    offset: int = 0,
    viewer: Caller | None = None,
) -> tuple[list[MemoryView], int]:
    """Memories that were taken from an episode, and how many there are.

    Raises:
        BadRequest: when the id is no UUID.
    """
    wanted = _uuid(episode_id)
    with viewing_as(services, tenant_id, subject_id, viewer) as (conn, visibility):
        if not visibility.listed_episodes.admits(wanted):
            return [], 0
        page, total = lineage.memory_views(
            conn,
            tenant_id,
            subject_id,
            citing=wanted,
            limit=limit,
            offset=offset,
            selection=visibility.listed_memories,
        )
    return [visibility.shown_view(view) for view in page], total


def memory_evolution(
    services: Services, tenant_id: str, subject_id: str, memory_id: str, *, viewer: Caller | None = None
) -> MemoryEvolution:
    """What a memory replaced, what replaced it, and what else its episodes gave.

    Raises:
        BadRequest: when the id is no UUID.
        NotFound: when the subject has no such memory.
    """
    wanted = _uuid(memory_id)
    with viewing_as(services, tenant_id, subject_id, viewer) as (conn, visibility):
        memory = lineage.find_memory(conn, tenant_id, subject_id, wanted)
        if memory is None or not visibility.shows_memory(wanted):
            raise NotFound(f"the subject has no memory {memory_id}")
        related = lineage.related_memories(
            conn, tenant_id, subject_id, wanted, superseded=MOST_SUPERSEDED, siblings=MOST_SIBLINGS
        )
    related = visibility.shown_related(related)
    return MemoryEvolution(
        memory_id=memory.id,
        status=memory.status,
        created_at=memory.created_at,
        superseding_memory=next((item for item in related if item.relationship == "superseded_by"), None),
        superseded_memories=[item for item in related if item.relationship == "supersedes"],
        sibling_memories=[item for item in related if item.relationship == "sibling"],
        source_episode_count=len(visibility.shown_sources(memory.source_episode_ids)),
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(f"{text!r} is no id") from None
