"""Resolutions, handoffs, health and service levels (contract: core §6.13, §7)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.schemas.context import Receipted
from api.schemas.fields import CallerId, CallerType, JsonObject, Moment, SessionId, SubjectId, as_utc
from api.schemas.timeline import Offset
from pipelines.support.health import Factor
from pipelines.support.sla import Deadline

ResolutionStatus = Literal["open", "resolved", "unresolved"]


class ResolutionCreate(msgspec.Struct, kw_only=True):
    """How a session stands. What is left out is cleared."""

    subject_id: SubjectId
    session_id: SessionId
    status: Annotated[ResolutionStatus, Meta(description="How it stands.")] = "open"
    resolution_summary: (
        Annotated[str, Meta(max_length=2000, description="What resolved it, or what it is about.")] | None
    ) = None
    metadata: JsonObject | None = None
    resolved_at: (
        Annotated[Moment, Meta(description="When it was resolved, for a history that is replayed; now if unset.")]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.resolved_at is not None:
            self.resolved_at = as_utc(self.resolved_at)


class ResolutionsQuery(msgspec.Struct, kw_only=True):
    """Which resolutions, newest update first."""

    subject_id: SubjectId
    status: ResolutionStatus | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Records at most.")] = 50
    offset: Offset = 0
    caller_id: CallerId | None = None
    caller_type: CallerType | None = None


class HandoffCreate(Receipted, kw_only=True):
    """Which session is handed over, and why."""

    subject_id: SubjectId
    session_id: SessionId
    reason: Annotated[str, Meta(max_length=256, description="Why it is handed over.")] | None = "escalation"
    max_tokens: Annotated[int, Meta(ge=1, le=16_000, description="Budget of `handoff_notes`.")] | None = 4000

    def __post_init__(self) -> None:
        # Some clients send null for what they leave to the server.
        self.reason = "escalation" if self.reason is None else self.reason
        self.max_tokens = self.max_tokens or 4000


class LevelsQuery(msgspec.Struct, kw_only=True):
    """What counts as too late. A time equal to its threshold is in time."""

    first_response_threshold_minutes: Annotated[float, Meta(ge=0, description="Longest first response.")] = 5.0
    resolution_threshold_hours: Annotated[float, Meta(ge=0, description="Longest resolution.")] = 24.0


class SubjectHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a subject is: 100 points, less or more what the factors say; and which deadlines have passed meanwhile."""

    subject_id: str
    score: int
    state: Literal["healthy", "watch", "at_risk"]
    factors: list[Factor]
    overdue: list[Deadline]
