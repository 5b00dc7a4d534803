"""Passages: the units that retrieval finds and delivers. A turn, a piece of a long one, or a memory.

The same conversation gives the same passages whether its turns come as one episode each or all in one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

from config.deferred import np
from pipelines.chunks import WHOLE, chunk
from pipelines.episode_text import Turn, episode_text, episode_turns
from pipelines.languages import Language
from pipelines.speakers import Role, normal_name, speaker_hash, without_roles
from pipelines.terms import term_list, terms_and_language
from pipelines.tokens import count_tokens
from storage.passage_columns import MOST_TERMS, NEVER, Flag, Kind, PassageColumns, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = [
    "Passage",
    "columns_of",
    "day_line",
    "episode_text",
    "memory_line",
    "memory_passage",
    "passage_texts",
    "speakers_of",
    "split_episode",
    "telling_words",
    "turn_line",
]

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

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)

#: Words and endings that make up two fifths of all English text and tell nothing apart.
_COMMONEST = frozenset(
    "the a i and to is it in for of on you that with be as at this was are s m t ve re ll d so but have my me your we"
    " our an by or if from been had has do".split()
)
_WORD = re.compile(r"[^\W_]+")


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
    session = _session_of(session_id, episode_id, text, occurred_at)
    title = term_list(_title(payload, text))
    turns = episode_turns(payload, text, source=source, metadata=metadata, known=known_speakers)
    passages: list[Passage] = []
    for turn in turns:
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
    # Roles stand before the lines of a summary and not in the turns that it repeats.
    terms, language = terms_and_language(without_roles(content) if kind == "episode_summary" else content)
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
        flags=_flags(content, "unknown", language),
        terms=terms,
        tokens=count_tokens(memory_line(content, valid_from) + "\n"),
    )


def turn_line(text: str, speaker: str) -> str:
    """A passage of an episode as it is delivered, below the line of its day."""
    return f"{speaker}: {text}" if speaker else text


def day_line(day: date) -> str:
    """The line above the turns of a day: as few tokens as a date that nobody can misread takes."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def memory_line(content: str, valid_from: datetime) -> str:
    """A memory as it is delivered: dated, unless it names a year itself."""
    dated = re.search(r"\b20\d\d\b", content) is not None
    return f"- {content}" if dated else f"- [{valid_from:%Y-%m-%d}] {content}"


def passage_texts(passages: Sequence[Passage], *, speakers: Collection[str] = ()) -> list[str]:
    """What is embedded of each passage: its words, without the names of those who speak and the commonest words.

    A mean of word vectors is the better for it; a model that reads sentences should be given `passage.text`.

    Args:
        speakers: Names stored with the subject, beside those of the passages themselves.
    """
    return telling_words([passage.text for passage in passages], speakers=[*speakers, *speakers_of(passages)])


def telling_words(texts: Sequence[str], *, speakers: Collection[str]) -> list[str]:
    """Texts without the commonest words and the words of the speakers' names."""
    named = {word for name in speakers for word in normal_name(name).split()}
    left_out = _COMMONEST | {word for word in named if len(word) > 1}
    return [_telling(text, left_out) for text in texts]


def _telling(text: str, left_out: Collection[str]) -> str:
    words = _WORD.findall(text)
    return " ".join([word for word in words if word.lower() not in left_out]) or " ".join(words)


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


def _of_turn(turn: Turn, text: str, episode_id: UUID, session: int, at: datetime, title: list[int]) -> list[Passage]:
    label = turn.speaker or _label_of(turn.role)
    passages = []
    for number, (start, stop) in enumerate(chunk(text, turn.start, turn.stop)):
        words = text[start:stop]
        terms, language = terms_and_language(words)
        flags = _flags(words, turn.role, language) | (Flag.CONTINUES if number else Flag(0))
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
                terms=terms + title,
                tokens=count_tokens(turn_line(words, label) + "\n"),
            )
        )
    return passages


def _label_of(role: Role) -> str:
    return "" if role == "unknown" else role


def _flags(text: str, role: Role, language: Language | None) -> Flag:
    flags = _ROLE_FLAG.get(role, Flag(0))
    if text.endswith(("?", "?", "؟")) or text.rstrip("\"')] ").endswith("?"):
        flags |= Flag.IS_QUESTION
    if _TIME_EXPRESSION.search(text) or _names_time(text, language):
        flags |= Flag.HAS_TIME_EXPRESSION
    return flags


def _names_time(text: str, language: Language | None) -> bool:
    """Whether a text in another language than English has an expression of time."""
    return language is not None and language.time_expression is not None and bool(language.time_expression.search(text))


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


def session_hash(session_id: str) -> int:
    """The number under which a session's passages are stored: 64 bits, never 0."""
    return _hash(f"session {session_id}")


def _session_of(session_id: str | None, episode_id: UUID, text: str, occurred_at: datetime) -> int:
    """The session of an episode.

    One without a session is one of its own, unless it is so short that it can only be a line of a conversation: those
    of one day stand together.
    """
    if session_id is not None:
        return session_hash(session_id)
    if len(text) > WHOLE or "\n" in text.strip():
        return int.from_bytes(episode_id.bytes[8:], "big") or 1
    return _hash(f"day {occurred_at.astimezone(UTC).date()}")


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
