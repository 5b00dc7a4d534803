"""Rows as the other rooms see them. Field names are column names, and the wire's field names."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable event about a subject. The three documents are JSON text exactly as it was sent."""

    id: UUID
    subject_id: str
    session_id: str | None
    source: str
    type: str
    payload: msgspec.Raw
    metadata: msgspec.Raw
    provenance: msgspec.Raw
    occurred_at: datetime
    created_at: datetime


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One thing known about a subject, in its current state."""

    id: UUID
    subject_id: str
    kind: str
    content: str
    summary: str
    confidence: float
    valid_from: datetime
    valid_to: datetime | None
    source_episode_ids: list[UUID]
    metadata: msgspec.Raw
    status: str
    sensitivity_labels: list[str]
    created_at: datetime
    updated_at: datetime


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject with its counters."""

    subject_id: str
    episode_count: int
    memory_count: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One durable piece of asynchronous work.

    `fence` grows with every claim; a worker may commit only while the row still carries the fence it was given.
    `attempts` counts failures of the current stage, the present claim included; `crashes` counts dead workers.
    """

    id: UUID
    tenant_id: str
    subject_id: str | None
    kind: str
    queue: str
    stage: str
    state: str
    attempts: int
    crashes: int
    quarantined: bool
    fence: int
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    request_id: str | None
    traceparent: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    #: How long it had waited to be claimed; known to whoever just claimed it.
    waited_seconds: float = 0.0
    #: For how long its holder wants to keep it when it ends a stage; None lets go of it.
    keep_for: timedelta | None = None
    #: Whether the holder of the last stage holds the stage it is at now.
    is_kept: bool = False
