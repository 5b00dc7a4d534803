"""Builders of what compilation works on, and a store in memory that does what a publication does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pipelines.claims import claim_metadata
from pipelines.compilation import DraftMemory, EpisodeInput, ExistingMemory, content_hash
from pipelines.conflicts import Resolution

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """A moment so many days after the first of January."""
    return START + timedelta(days=number)


def episode(payload: dict[str, Any] | None = None, **changes: Any) -> EpisodeInput:
    """An episode of a chat on day 0."""
    values: dict[str, Any] = {
        "id": UUID(int=1),
        "subject_id": "user-1",
        "session_id": None,
        "source": "chat",
        "type": "conversation",
        "payload": payload or {},
        "metadata": {},
        "occurred_at": START,
        "created_at": START,
        "seq": 1,
        "text": "",
    }
    return EpisodeInput(**(values | changes))


def draft(
    content: str,
    at: float = 0,
    *,
    key: str | None = None,
    value: str | None = None,
    kind: str = "profile_fact",
    source: int | None = None,
    position: Sequence[int] = (),
    ttl_days: float | None = None,
) -> DraftMemory:
    """A draft that becomes valid on day `at`; its episode is numbered by its day unless said otherwise."""
    valid_from = day(at)
    metadata: dict[str, Any] = {"position": list(position)} if position else {}
    if key is not None and value is not None:
        metadata["claim"] = claim_metadata(key, value, valid_from)
    return DraftMemory(
        kind=kind,
        content=content,
        summary=content,
        confidence=0.6,
        valid_from=valid_from,
        valid_to=None if ttl_days is None else day(at + ttl_days),
        source_episode_ids=[UUID(int=1000 + int(at * 10) if source is None else source)],
        metadata=metadata,
        claim_key=key,
        claim_value=value,
        content_hash=content_hash(content),
    )


class Store:
    """The memories of one subject, written to as a publication writes."""

    def __init__(self) -> None:
        self.memories: dict[UUID, ExistingMemory] = {}

    def active(self) -> list[str]:
        """What is true now, sorted."""
        return sorted(memory.content for memory in self.memories.values() if memory.status == "active")

    def superseded(self) -> dict[str, datetime | None]:
        """What was true, and until when."""
        return {memory.content: memory.valid_to for memory in self.memories.values() if memory.status != "active"}

    def apply(self, new: Sequence[DraftMemory], resolution: Resolution) -> None:
        """Publish a resolution, and hold it to what a database would refuse."""
        for insert in resolution.inserts:
            made = new[insert.index]
            made_id = UUID(int=2**64 + len(self.memories))
            self.memories[made_id] = ExistingMemory(
                id=made_id,
                kind=made.kind,
                content=made.content,
                status=insert.status,
                valid_from=insert.valid_from,
                valid_to=insert.valid_to,
                source_episode_ids=insert.source_episode_ids,
                metadata=insert.metadata,
                claim_key=made.claim_key,
                claim_value=made.claim_value,
                content_hash=made.content_hash,
            )
            self._check_active_are_unique()
        for fold in resolution.folds:
            memory = self.memories[fold.id]
            memory.source_episode_ids = fold.source_episode_ids
            memory.valid_from, memory.valid_to = fold.valid_from, fold.valid_to
            memory.metadata = fold.metadata
            memory.claim_key, memory.claim_value = fold.claim_key, fold.claim_value
        for supersession in resolution.supersessions:
            if isinstance(supersession.loser, UUID):
                assert self.memories[supersession.loser].status == "active"
                self.memories[supersession.loser].status = "superseded"
                self.memories[supersession.loser].valid_to = supersession.valid_to

    def _check_active_are_unique(self) -> None:
        active = [(m.kind, m.content_hash) for m in self.memories.values() if m.status == "active"]
        assert len(active) == len(set(active))
