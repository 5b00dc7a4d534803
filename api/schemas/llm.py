"""Asking the configured language model (contract: core §6.15)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class ChatMessage(msgspec.Struct, kw_only=True):
    """One message of the conversation so far."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, Meta(max_length=16_000)]


class ChatCreate(msgspec.Struct, kw_only=True):
    """A conversation to be answered. The model is the server's choice."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=50)]
    max_tokens: Annotated[int, Meta(ge=1, le=4096, description="Tokens of the answer at most.")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
