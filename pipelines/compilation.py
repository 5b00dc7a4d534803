"""The data of compilation: what a compiler is given, what it drafts, and what drafts are compared with.

Everything here can be encoded by msgspec as JSON or MessagePack, because drafts wait as rows between the stages of a
run. Nothing here reads the clock or makes an id.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

import msgspec

Role = Literal["user", "agent", "system", "unknown"]

PROFILE_FACT = "profile_fact"
EPISODE_SUMMARY = "episode_summary"
PROCEDURE = "procedure"

#: Characters of a memory's summary. The contract's limit.
SUMMARY_CHARS = 200

#: Punctuation that is no part of a word when it stands at its edge. `#`, `@`, `$`, `%`, `+` and `-` carry meaning.
EDGES = ".,;:!?\"'()[]{}<>…*_`“”‘’«»–—|~"


class Utterance(msgspec.Struct, frozen=True):
    """One thing that one voice said: a chat message, a line of a transcript, or a whole document.

    `speaker` is a name when the source gives one. `role` is "unknown" for people who talk to each other and for text
    without a voice. `at` is the message's own time, when it has one.
    """

    speaker: str | None
    role: Role
    text: str
    at: datetime | None = None


class EpisodeInput(msgspec.Struct, frozen=True, kw_only=True):
    """One stored episode as a compiler reads it. `seq` is its place among the subject's episodes."""

    id: UUID
    subject_id: str
    session_id: str | None
    source: str
    type: str
    payload: dict[str, Any]
    metadata: dict[str, Any]
    occurred_at: datetime
    created_at: datetime
    seq: int
    text: str


class DraftMemory(msgspec.Struct, kw_only=True):
    """A memory that a compiler proposes; conflict resolution decides what becomes of it.

    `claim_key` is scoped to the speaker where several people talk (`location.current_home@caroline`).
    `content_hash` is of the content's words, so `(kind, content_hash)` recognises an exact repetition.
    """

    kind: str
    content: str
    summary: str
    confidence: float
    valid_from: datetime
    valid_to: datetime | None = None
    source_episode_ids: list[UUID]
    metadata: dict[str, Any]
    claim_key: str | None = None
    claim_value: str | None = None
    content_hash: bytes
    suggested_labels: list[str] = []


class ExistingMemory(msgspec.Struct, kw_only=True):
    """A stored memory that drafts may repeat or contradict; `status` is "active" or "superseded"."""

    id: UUID
    kind: str
    content: str
    valid_from: datetime
    valid_to: datetime | None
    source_episode_ids: list[UUID]
    metadata: dict[str, Any]
    claim_key: str | None
    claim_value: str | None
    content_hash: bytes
    status: str = "active"


def words(text: str) -> list[str]:
    """Split into lower-case words without the punctuation at their edges."""
    return [word for raw in text.lower().split() if (word := raw.strip(EDGES))]


def content_hash(content: str) -> bytes:
    """Hash the content's words: 16 bytes, the same for texts that differ in case, spacing or edge punctuation."""
    normal = " ".join(words(content)) or content
    return blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shorten(text: str, limit: int) -> str:
    """Cut to at most `limit` characters: after a sentence if that keeps half of them, else after a word."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    end = max(head.rfind(mark) for mark in (". ", "! ", "? ", "\n"))
    if end >= limit // 2:
        return head[: end + 1].rstrip()
    space = head.rfind(" ", limit // 2, limit - 1)
    return head[: space if space > 0 else limit - 1].rstrip(" ,;:-") + "…"
