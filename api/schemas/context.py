"""Asking for context (contract: core §6.8)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.schemas.fields import BadField, SessionId, SubjectId, as_utc
from pipelines.receipts.body import Correlation

#: Moments of the past that contexts may be asked for.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)


def within_history(moment: datetime) -> datetime:
    """The moment in UTC, if it is one that anything could be counted from.

    Raises:
        BadField: when it is not.
    """
    moment = as_utc(moment)
    if not EARLIEST <= moment < LATEST:
        raise BadField(f"must lie between the years {EARLIEST.year} and {LATEST.year}", kind="out_of_range")
    return moment


ShortId = Annotated[str, Meta(max_length=64)]


_MOMENT: dict[str, Any] = {
    "examples": ["2026-03-14T09:26:53Z"],
    "extra_json_schema": {"format": "date-time"},
    "extra": {"check": within_history},
}


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
    as_of: Annotated[datetime, Meta(description="What was true then (valid time).", **_MOMENT)] | None = None
    known_at: Annotated[datetime, Meta(description="What was known then (time of record).", **_MOMENT)] | None = None

    def __post_init__(self) -> None:
        self.as_of = within_history(self.as_of) if self.as_of else None
        self.known_at = within_history(self.known_at) if self.known_at else None
