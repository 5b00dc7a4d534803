"""Looking into one subject (contract: governance §9.2 to §9.4)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import TenantQuery
from api.schemas.fields import Moment
from pipelines.memory_origins import Day, Growth


class ActivityQuery(TenantQuery, kw_only=True):
    """How far back."""

    days: Annotated[int, Meta(ge=7, le=365)] = 90


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored day by day (UTC), the oldest first."""

    days: list[Day]
    subject_id: str
    window_days: int


class GrowthQuery(TenantQuery, kw_only=True):
    """Until when."""

    snapshot_at: Annotated[Moment, Meta(description="Now, if unset.")] | None = None


class MemoryGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """How many memories there were, day by day."""

    events: list[Growth]
    snapshot_at: datetime
    memories_at_snapshot: int
    subject_id: str


class SimulationQuery(TenantQuery, kw_only=True):
    """What is looked for, and how much room there is."""

    query: Annotated[str, Meta(min_length=1, max_length=10_000)]
    limit: Annotated[int, Meta(ge=1, le=50)] = 15
    token_budget: Annotated[int, Meta(ge=100, le=32_000)] = 2000


class NearPairsQuery(TenantQuery, kw_only=True):
    """How near, and how many."""

    threshold: Annotated[float, Meta(ge=0, le=1, description="Cosine similarity.")] = 0.85
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
