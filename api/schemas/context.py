"""Asking for context (contract: core §6.8)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from api.schemas.fields import Moment, SessionId, SubjectId, as_utc
from pipelines.receipts.body import Correlation

#: Moments of the past that contexts may be asked for.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)

ShortId = Annotated[str, Meta(max_length=64)]


class Receipted(msgspec.Struct, kw_only=True):
    """What requests say about their receipt, and about who asks."""

    emit_receipt: bool | None = None
    query_id: ShortId | None = None
    task_id: ShortId | None = None
    parent_receipt_id: Annotated[str, Meta(max_length=26)] | None = None
    caller_id: Annotated[str, Meta(max_length=256)] | None = None
    caller_type: ShortId | None = None


def correlation(asked: Receipted) -> Correlation:
    """What a receipt copies of a request."""
    return Correlation(query_id=asked.query_id, task_id=asked.task_id, parent_receipt_id=asked.parent_receipt_id)


class ContextCreate(Receipted, kw_only=True):
    """What an agent is about to do, and how much context it can take."""

    subject_id: SubjectId
    task: Annotated[
        str, Meta(min_length=1, max_length=4000, description="What the context is for, in the agent's own words.")
    ]
    max_tokens: (
        Annotated[int, Meta(ge=1, le=128_000, description="Budget; `STATEWAVE_DEFAULT_MAX_CONTEXT_TOKENS` if unset.")]
        | None
    ) = None
    session_id: SessionId | None = None
    explain: Annotated[bool, Meta(description="Say how every item was scored.")] = False
    as_of: Annotated[Moment, Meta(description="What was true then (valid time); everything counts from it.")] | None = (
        None
    )
    known_at: Annotated[Moment, Meta(description="What was known then (time of record).")] | None = None

    def __post_init__(self) -> None:
        self.as_of = _within_history(self.as_of, "as_of")
        self.known_at = _within_history(self.known_at, "known_at")


def _within_history(moment: datetime | None, field: str) -> datetime | None:
    """The moment in UTC, if it is one that anything could be counted from."""
    if moment is None:
        return None
    moment = as_utc(moment)
    if not EARLIEST <= moment < LATEST:
        raise ValueError(f"{field} must lie between {EARLIEST.year} and {LATEST.year}")
    return moment
