"""Appending episodes: what is sent (contract: core §5) and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from api.schemas.fields import (
    MAX_KEY,
    JsonObject,
    Metadata,
    Moment,
    SessionId,
    SubjectId,
    as_utc,
    metadata_key,
)
from pipelines.ingest import NewEpisode
from storage.rows import Episode

Source = Annotated[
    str, Meta(min_length=1, max_length=256, description="The system it comes from.", examples=["support-chat"])
]
EpisodeType = Annotated[
    str, Meta(min_length=1, max_length=128, description="What kind of event it is.", examples=["message"])
]
IdempotencyKey = Annotated[
    str,
    Meta(
        max_length=MAX_KEY,
        description="A repetition under the same key returns the stored episode instead of storing another.",
    ),
]


class ConnectorSource(msgspec.Struct, kw_only=True):
    """Where a connector found the record."""

    type: Source
    id: str | None = None
    url: str | None = None


class ConnectorEpisode(msgspec.Struct, kw_only=True):
    """The record as connectors and webhook receivers post it: stored as the episode it describes."""

    subject: SubjectId
    kind: EpisodeType
    text: str
    source: ConnectorSource
    metadata: Metadata | None = None
    occurred_at: Moment | None = None
    idempotency_key: IdempotencyKey | None = None

    @staticmethod
    def recognises(sent: Mapping[str, Any]) -> bool:
        """Whether the object is meant as a connector's record."""
        return "subject_id" not in sent and "subject" in sent

    def translated(self) -> EpisodeCreate:
        """The same event in the contract's form."""
        payload = {"text": self.text, "source_id": self.source.id, "source_url": self.source.url}
        return EpisodeCreate(
            subject_id=self.subject,
            source=self.source.type,
            type=self.kind,
            payload={name: value for name, value in payload.items() if value is not None},
            metadata=self.metadata,
            occurred_at=self.occurred_at,
            idempotency_key=self.idempotency_key,
        )


#: Named outside of `EpisodeCreate`, whose own field `type` would hide the builtin.
OtherForm: TypeAlias = type[ConnectorEpisode]


class EpisodeCreate(msgspec.Struct, kw_only=True):
    """One event about a subject."""

    #: A second form of the same thing, which is translated into this one.
    other_form: ClassVar[OtherForm] = ConnectorEpisode

    subject_id: SubjectId
    source: Source
    type: EpisodeType
    payload: JsonObject
    metadata: Metadata | None = None
    provenance: JsonObject | None = None
    session_id: SessionId | None = None
    occurred_at: Moment | None = None
    idempotency_key: IdempotencyKey | None = None

    def __post_init__(self) -> None:
        if self.occurred_at is not None:
            self.occurred_at = as_utc(self.occurred_at)
        if self.metadata and not self.idempotency_key:
            self.idempotency_key = metadata_key(self.metadata)

    def new_episode(self, *, default_key: str | None = None) -> NewEpisode:
        """The episode for the pipeline, under its own key or else under `default_key`."""
        return NewEpisode(
            subject_id=self.subject_id,
            source=self.source,
            type=self.type,
            payload=self.payload,
            metadata=self.metadata or {},
            provenance=self.provenance or {},
            session_id=self.session_id,
            idempotency_key=self.idempotency_key or default_key or None,
            occurred_at=self.occurred_at,
        )


class EpisodeHeaders(msgspec.Struct, kw_only=True):
    """Headers of a write."""

    idempotency_key: IdempotencyKey | None = msgspec.field(default=None, name="Idempotency-Key")


class BatchCreate(msgspec.Struct, kw_only=True):
    """Several events, stored together or not at all."""

    episodes: Annotated[list[EpisodeCreate], Meta(min_length=1, max_length=100)]


class BatchCreated(msgspec.Struct, frozen=True, kw_only=True):
    """The stored episodes in the order they were sent; repetitions are counted too."""

    episodes_created: int
    episodes: list[Episode]
