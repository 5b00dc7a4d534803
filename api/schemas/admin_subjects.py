"""What operators ask about subjects, and what they are answered (contract: governance §9.2, §9.3)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.schemas.fields import SessionId, SubjectId
from api.schemas.timeline import Offset
from pipelines.subject_views import HealthFilter
from pipelines.support.sla import SessionLevel
from storage.lineage import MemoryView
from storage.rows import Episode
from storage.subject_views import SortKey, SubjectView

Limit = Annotated[int, Meta(ge=1, le=200, description="Rows at most.")]
TenantId = Annotated[str, Meta(max_length=256, description="Only rows of this tenant.")]


class TenantQuery(msgspec.Struct, kw_only=True):
    """Whose subject is meant; needed only where several tenants have one of the same id."""

    tenant_id: TenantId | None = None


class SubjectViewsQuery(TenantQuery, kw_only=True):
    """Which subjects, in which order."""

    search: Annotated[str, Meta(description="A part of the id.")] | None = None
    health_state: Annotated[HealthFilter, Meta(description="As it was last worked out.")] | None = None
    has_open_sessions: bool | None = None
    sort_by: SortKey = "subject_id"
    sort_order: Literal["asc", "desc"] = "asc"
    limit: Limit = 50
    offset: Offset = 0


class MemoryViewsQuery(TenantQuery, kw_only=True):
    """Which memories of a subject, newest first."""

    status: Literal["active", "superseded", "tombstoned", "all"] = "all"
    kind: str | None = None
    search: Annotated[str, Meta(description="A part of the text.")] | None = None
    limit: Limit = 50
    offset: Offset = 0


class EpisodeViewsQuery(TenantQuery, kw_only=True):
    """Which episodes of a subject, newest first."""

    session_id: SessionId | None = None
    type: str | None = None
    search: Annotated[str, Meta(description="A part of the text.")] | None = None
    limit: Limit = 50
    offset: Offset = 0


class PageQuery(TenantQuery, kw_only=True):
    """Which page."""

    limit: Limit = 50
    offset: Offset = 0


class TimelineLimitQuery(TenantQuery, kw_only=True):
    """How much of a session."""

    limit: Annotated[int, Meta(ge=1, le=500, description="Episodes at most.")] = 200


class EpisodePath(msgspec.Struct, kw_only=True):
    """Names an episode of a subject."""

    subject_id: SubjectId
    episode_id: str


class MemoryPath(msgspec.Struct, kw_only=True):
    """Names a memory of a subject."""

    subject_id: SubjectId
    memory_id: str


class RestoreQuery(TenantQuery, kw_only=True):
    """What becomes of the memory that took its place."""

    instead: bool = False


class SessionPath(msgspec.Struct, kw_only=True):
    """Names a session of a subject."""

    subject_id: SubjectId
    session_id: SessionId


class SubjectViews(msgspec.Struct, frozen=True, kw_only=True):
    """One page of subjects, and how many match."""

    subjects: list[SubjectView]
    total: int
    limit: int
    offset: int


class MemoryViews(msgspec.Struct, frozen=True, kw_only=True):
    """One page of memories, and how many match."""

    memories: list[MemoryView]
    total: int
    limit: int
    offset: int


class EpisodeViews(msgspec.Struct, frozen=True, kw_only=True):
    """One page of episodes, and how many match."""

    episodes: list[Episode]
    total: int
    limit: int
    offset: int


class AdminServiceLevels(msgspec.Struct, frozen=True, kw_only=True):
    """Service levels of a subject, session by session."""

    subject_id: str
    tenant_id: str
    total_sessions: int
    resolved_sessions: int
    open_sessions: int
    avg_first_response_seconds: float | None
    avg_resolution_seconds: float | None
    first_response_breach_count: int
    resolution_breach_count: int
    sessions: list[SessionLevel]
