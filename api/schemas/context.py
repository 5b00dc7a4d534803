"""Asking for context (contract: core §6.8)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.schemas.fields import SessionId, SubjectId

ShortId = Annotated[str, Meta(max_length=64)]


class ContextCreate(msgspec.Struct, kw_only=True):
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
    emit_receipt: bool | None = None
    query_id: ShortId | None = None
    task_id: ShortId | None = None
    parent_receipt_id: Annotated[str, Meta(max_length=26)] | None = None
    caller_id: Annotated[str, Meta(max_length=256)] | None = None
    caller_type: ShortId | None = None
