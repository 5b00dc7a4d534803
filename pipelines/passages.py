"""Passages: the units that retrieval finds and delivers. A turn, a piece of a long one, or a memory.

The same conversation gives the same passages whether its turns come as one episode each or all in one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pipelines.chunks import chunk
from pipelines.episode_text import Turn, episode_text, episode_turns
from pipelines.speakers import Role, normal_name, speaker_hash
from pipelines.terms import term_list
from pipelines.tokens import count_tokens
from storage.passage_columns import MOST_TERMS, NEVER, Flag, Kind, PassageColumns, quantise

__all__ = ["Passage", "columns_of", "episode_text", "memory_passage", "passage_texts", "split_episode"]

_KINDS = {"profile_fact": Kind.PROFILE_FACT, "procedure": Kind.PROCEDURE, "episode_summary": Kind.EPISODE_SUMMARY}

#: Expressions that place an event in time. English; a further language adds its own.
_TIME_EXPRESSION = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow"
    r"|(?:last|next|this|past) (?:night|week|weekend|month|year|summer|winter|spring|fall|autumn|morning|afternoon"
    r"|evening|mon|tues|wednes|thurs|fri|satur|sun)\w*"
    r"|(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|few|couple(?: of)?|several|\d+) "
    r"(?:hour|day|week|weekend|month|year)s?|ago|recently|since"
    r"|january|february|march|april|june|july|august|september|october|november|december|in may|may \d"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|weekend|(?:19|20)\d\d|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}"
    r"|just (?:got|finished|started|came|had|went))\b",
    re.I,
)

_ROLE_FLAG: dict[Role, Flag] = {"user": Flag.FROM_USER, "agent": Flag.FROM_AGENT}

#: Tokens of a bullet and its line break around a passage's words.
_LINE_FRAME = 2


@dataclass(frozen=True, slots=True)
class Passage:
    """One unit of retrieval, before it is embedded. `text` is `source_text[start:stop]`."""

    source_id: UUID
    kind: Kind
    start: int
    stop: int
    text: str
    speaker: str
    role: Role
    session: int
    occurred_at: datetime
    valid_until: datetime | None
    flags: Flag
    terms: list[int]
    tokens: int


def split_episode(
    payload: Mapping[str, Any],
    *,
    episode_id: UUID,
    text: str,
    source: str,
    session_id: str | None,
    occurred_at: datetime,
    metadata: Mapping[str, Any] | None = None,
    known_speakers: Collection[str] = (),
) -> list[Passage]:
    """Split an episode into passages, in the order of its text.

    Args:
        text: `episode_text(payload)`; the offsets of the passages point into it.
        known_speakers: Names stored with the subject; they help to tell a speaker from a heading.
    """
    session = _session_hash(session_id, episode_id)
    title = term_list(_title(payload, text))
    passages: list[Passage] = []
    for turn in episode_turns(payload, text, source=source, metadata=metadata, known=known_speakers):
        passages += _of_turn(turn, text, episode_id, session, turn.at or occurred_at, title)
    return passages


def memory_passage(
    *,
    memory_id: UUID,
    kind: str,
    content: str,
    valid_from: datetime,
    valid_to: datetime | None = None,
    speaker: str = "",
) -> Passage:
    """A memory as one passage: it is delivered whole and has no neighbours."""
    return Passage(
        source_id=memory_id,
        kind=_KINDS.get(kind, Kind.OTHER),
        start=0,
        stop=len(content),
        text=content,
        speaker=speaker,
        role="unknown",
        session=0,
        occurred_at=valid_from,
        valid_until=valid_to,
        flags=_flags(content, "unknown"),
        terms=term_list(content),
        tokens=count_tokens(memory_line(content, valid_from)) + 1,
    )


def turn_line(text: str, speaker: str) -> str:
    """A passage of an episode as it is delivered."""
    return f"- {speaker}: {text}" if speaker else f"- {text}"


def memory_line(content: str, valid_from: datetime) -> str:
    """A memory as it is delivered: dated, unless it names a year itself."""
    dated = re.search(r"\b20\d\d\b", content) is not None
    return f"- {content}" if dated else f"- [{valid_from:%Y-%m-%d}] {content}"


def passage_texts(passages: Sequence[Passage]) -> list[str]:
    """What is embedded of each passage."""
    return [passage.text for passage in passages]


def columns_of(passages: Sequence[Passage], vectors: NDArray[np.float32]) -> PassageColumns:
    """Passages and their unit vectors as columns."""
    scale, quantised = quantise(vectors)
    terms = [passage.terms[:MOST_TERMS] for passage in passages]
    return PassageColumns(
        source_id=np.frombuffer(b"".join(p.source_id.bytes for p in passages), dtype="V16"),
        kind=np.array([p.kind for p in passages], dtype=np.uint8),
        start=np.array([p.start for p in passages], dtype=np.int32),
        stop=np.array([p.stop for p in passages], dtype=np.int32),
        session=np.array([p.session for p in passages], dtype=np.uint64),
        occurred_at=np.array([_microseconds(p.occurred_at) for p in passages], dtype=np.int64),
        valid_until=np.array(
            [NEVER if p.valid_until is None else _microseconds(p.valid_until) for p in passages], dtype=np.int64
        ),
        speaker=np.array([speaker_hash(p.speaker or _label_of(p.role)) for p in passages], dtype=np.uint32),
        flags=np.array([p.flags for p in passages], dtype=np.uint8),
        tokens=np.array([min(p.tokens, 65_535) for p in passages], dtype=np.uint16),
        term_counts=np.array([len(own) for own in terms], dtype=np.uint16),
        terms=np.array([term for own in terms for term in own], dtype=np.uint32),
        scale=scale,
        vectors=quantised,
    )


def speakers_of(passages: Sequence[Passage]) -> list[str]:
    """Names of the people who speak, in the order in which they first do; roles are no names."""
    return list({normal_name(p.speaker): p.speaker for p in reversed(passages) if p.speaker}.values())[::-1]


def _of_turn(
    turn: Turn, text: str, episode_id: UUID, session: int, at: datetime, title: list[int]
) -> list[Passage]:
    label = turn.speaker or _label_of(turn.role)
    passages = []
    for number, (start, stop) in enumerate(chunk(text, turn.start, turn.stop)):
        words = text[start:stop]
        flags = _flags(words, turn.role) | (Flag.CONTINUES if number else Flag(0))
        passages.append(
            Passage(
                source_id=episode_id,
                kind=Kind.TURN,
                start=start,
                stop=stop,
                text=words,
                speaker=turn.speaker,
                role=turn.role,
                session=session,
                occurred_at=at,
                valid_until=None,
                flags=flags,
                terms=term_list(words) + title,
                tokens=count_tokens(turn_line(words, label)) + 1,
            )
        )
    return passages


def _label_of(role: Role) -> str:
    return "" if role == "unknown" else role


def _flags(text: str, role: Role) -> Flag:
    flags = _ROLE_FLAG.get(role, Flag(0))
    if text.endswith(("?", "?", "؟")) or text.rstrip("\"')] ").endswith("?"):
        flags |= Flag.IS_QUESTION
    if _TIME_EXPRESSION.search(text):
        flags |= Flag.HAS_TIME_EXPRESSION
    return flags


def _title(payload: Mapping[str, Any], text: str) -> str:
    """Words above the text that say what it is about and that the text does not hold."""
    found = []
    for key in ("title", "subject", "breadcrumb", "doc_path"):
        value = payload.get(key)
        if isinstance(value, list):
            value = " ".join(str(item) for item in value[:20])
        if isinstance(value, str) and value[:300] not in text:
            found.append(value[:300])
    return " ".join(found)


def _session_hash(session_id: str | None, episode_id: UUID) -> int:
    """64 bits, never 0. An episode without a session is a session of its own."""
    if session_id is None:
        return int.from_bytes(episode_id.bytes[8:], "big") | 1
    return int.from_bytes(blake2b(session_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
