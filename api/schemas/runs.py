"""What operators ask of runs and queues, and what they are told (contract: governance §9.5, and beyond it)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from storage.rows import Run
from storage.run_operations import QueueFigures
from storage.schedules import ScheduleRow

RunState = Literal["pending", "running", "completed", "failed", "cancelled"]
JobStatus = Literal["pending", "running", "completed", "failed"]
Queue = Literal["compile", "llm", "webhooks", "maintenance"]

Page = Annotated[int, Meta(ge=1, le=100, description="How many at most.")]
Offset = Annotated[int, Meta(ge=0, le=2**31 - 1, description="How many to pass over.")]


class JobsQuery(msgspec.Struct, kw_only=True):
    """Which compile jobs."""

    status: JobStatus | None = None
    subject_id: str | None = None
    tenant_id: str | None = None
    limit: Page = 50
    offset: Offset = 0


class PurgeQuery(msgspec.Struct, kw_only=True):
    """Which finished jobs; at least one of the three."""

    status: JobStatus | None = None
    subject_id: str | None = None
    tenant_id: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A compile job."""

    job_id: UUID
    subject_id: str | None
    tenant_id: str | None
    status: JobStatus
    memories_created: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs, the newest first, and how many there are."""

    jobs: list[Job]
    total: int
    limit: int
    offset: int


class JobsDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """How many were deleted."""

    deleted: int


class StuckQuery(msgspec.Struct, kw_only=True):
    """What counts as stuck."""

    older_than_minutes: Annotated[int, Meta(ge=1, le=10_080, description="Minutes at one stage.")] = 30


class JobsReset(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that were taken from their workers and are due again."""

    reset: int
    job_ids: list[UUID]


class RunPath(msgspec.Struct, kw_only=True):
    """Names a run."""

    run_id: UUID


class RunsQuery(msgspec.Struct, kw_only=True):
    """Which runs, the newest first. `cursor` is the `next_cursor` of the page before."""

    state: RunState | None = None
    queue: Queue | None = None
    kind: str | None = None
    tenant_id: str | None = None
    subject_id: str | None = None
    quarantined: bool | None = None
    cursor: UUID | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="How many at most.")] = 50


class DeadLettersQuery(msgspec.Struct, kw_only=True):
    """Which dead letters; without a filter, all of them."""

    queue: Queue | None = None
    kind: str | None = None
    tenant_id: str | None = None
    subject_id: str | None = None
    quarantined: bool | None = None


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of runs."""

    runs: list[Run]
    next_cursor: UUID | None


class RunsRetried(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs are due again."""

    retried: int


class QueuePath(msgspec.Struct, kw_only=True):
    """Names a queue."""

    queue: Queue


class PauseQuery(msgspec.Struct, kw_only=True):
    """Why a queue is paused, for whoever looks next."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class QueueList(msgspec.Struct, frozen=True, kw_only=True):
    """What every queue holds."""

    queues: list[QueueFigures]


class ScheduleList(msgspec.Struct, frozen=True, kw_only=True):
    """What happens at regular times."""

    schedules: list[ScheduleRow]


class Migrations(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the database's schema is the one this server was written for (contract: governance §14)."""

    current_revision: str | None
    expected_head: str
    is_compatible: bool
    pending_count: int
    pending_revisions: list[str]
    error: str | None
    summary: str
