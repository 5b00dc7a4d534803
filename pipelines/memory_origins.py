"""How a subject grew, and what a memory was made from (contract: governance §9.2 to §9.4).

For operators, who see everything: no policy is asked.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import BadRequest, NotFound
from pipelines.services import Services
from pipelines.subject_views import MOST_SIBLINGS
from storage import episodes as episode_rows
from storage import growth as growth_rows
from storage import lineage
from storage import memories as memory_rows
from storage.lineage import MemoryView, RelatedMemory
from storage.rows import Episode
from storage.transactions import Connection, tenant_transaction

_EVER = datetime.min.replace(tzinfo=UTC)
_EPISODE_FIELDS = Episode.__struct_fields__


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored on a day (UTC)."""

    date: date
    episode_count: int
    memory_count: int


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Memories that were stored on a day, and how many there were at its end. Superseded ones count."""

    date: date
    memories_added: int
    cumulative_count: int


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """A memory, the episodes it was taken from, and what else came of these."""

    memory: MemoryView
    source_episodes: list[Episode]
    sibling_memories: list[RelatedMemory]


class SourceText(msgspec.Struct, frozen=True, kw_only=True):
    """What the compiler read of an episode."""

    episode_id: UUID
    session_id: str | None
    source: str
    occurred_at: datetime
    text: str


class CompilerTrace(msgspec.Struct, frozen=True, kw_only=True):
    """How a memory was made: by which compiler and model (null where rules did it), from which texts."""

    memory_id: UUID
    kind: str
    content: str
    summary: str
    confidence: float
    status: str
    created_at: datetime
    compiler: str | None
    model: str | None
    source_episode_count: int
    reconstructed_input: list[SourceText]


def activity(services: Services, tenant_id: str, subject_id: str, *, days: int) -> list[Day]:
    """Every day of the last `days`, today included, the oldest first."""
    now = utcnow()
    first = now.astimezone(UTC).date() - timedelta(days=days - 1)
    with tenant_transaction(services.pool, tenant_id) as conn:
        stored = growth_rows.by_day(conn, tenant_id, subject_id, since=_midnight(first), until=now)
    found = {day: rest for day, *rest in stored}
    every = (first + timedelta(days=number) for number in range(days))
    return [Day(date=day, episode_count=n, memory_count=m) for day in every for n, m in [found.get(day, [0, 0])]]


def growth(services: Services, tenant_id: str, subject_id: str, *, until: datetime) -> list[Growth]:
    """Every day until a moment on which memories were stored, the oldest first."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        days = growth_rows.by_day(conn, tenant_id, subject_id, since=_EVER, until=until)
    grown, total = [], 0
    for day, _, added in days:
        if added:
            total += added
            grown.append(Growth(date=day, memories_added=added, cumulative_count=total))
    return grown


def provenance(services: Services, tenant_id: str, subject_id: str, memory_id: str) -> Provenance:
    """Where a memory comes from.

    Raises:
        BadRequest: when the id is no UUID.
        NotFound: when the subject has no such memory.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        memory = _memory(conn, tenant_id, subject_id, memory_id)
        sources = episode_rows.episodes_by_ids(conn, tenant_id, subject_id, memory.source_episode_ids)
        related = lineage.related_memories(conn, tenant_id, subject_id, memory.id, superseded=0, siblings=MOST_SIBLINGS)
    return Provenance(
        memory=memory,
        source_episodes=[
            Episode(**{name: getattr(sources[id], name) for name in _EPISODE_FIELDS})
            for id in memory.source_episode_ids
            if id in sources
        ],
        sibling_memories=[item for item in related if item.relationship == "sibling"],
    )


def compiler_trace(services: Services, tenant_id: str, subject_id: str, memory_id: str) -> CompilerTrace:
    """How a memory was made.

    Raises:
        BadRequest: when the id is no UUID.
        NotFound: when the subject has no such memory.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        memory = _memory(conn, tenant_id, subject_id, memory_id)
        sources = episode_rows.episodes_by_ids(conn, tenant_id, subject_id, memory.source_episode_ids)
        stored = memory_rows.memories_by_ids(conn, tenant_id, subject_id, [memory.id])[memory.id]
    made: dict[str, Any] = msgspec.json.decode(stored.metadata, type=dict[str, Any])
    texts = [
        SourceText(
            episode_id=id,
            session_id=sources[id].session_id,
            source=sources[id].source,
            occurred_at=sources[id].occurred_at,
            text=sources[id].body,
        )
        for id in memory.source_episode_ids
        if id in sources
    ]
    return CompilerTrace(
        **{name: getattr(memory, name) for name in ("kind", "content", "summary", "confidence", "status")},
        memory_id=memory.id,
        created_at=memory.created_at,
        compiler=_text(made.get("compiler")),
        model=_text(made.get("model")),
        source_episode_count=len(memory.source_episode_ids),
        reconstructed_input=texts,
    )


def _memory(conn: Connection, tenant_id: str, subject_id: str, memory_id: str) -> MemoryView:
    try:
        wanted = UUID(memory_id)
    except ValueError:
        raise BadRequest(f"{memory_id!r} is no id") from None
    memory = lineage.find_memory(conn, tenant_id, subject_id, wanted)
    if memory is None:
        raise NotFound(f"the subject has no memory {memory_id}")
    return memory


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
