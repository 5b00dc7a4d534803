"""The text of an episode and who says which part of it, whatever shape its payload has.

The contract's order comes first: one line "role: content" per entry of `messages`, else `text`, else `content`.
Beyond it, other lists of turns, pairs of question and answer, usual document fields, and at last every string in the
payload are read, so that nothing that was sent stays unfindable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pipelines.speakers import Role, author, author_of_source, role_of
from pipelines.temporal_anchor import message_time, parse_when
from pipelines.transcripts import voices

#: Lists of turns, the contract's name first.
_TURN_LISTS = (
    *("messages", "turns", "conversation", "dialogue", "dialog", "transcript", "utterances", "history", "chat"),
    *("comments", "thread", "replies"),
)
_TEXT_KEYS = ("text", "content")
#: What a message or document calls its text when it has neither `text` nor `content`.
_OTHER_TEXT_KEYS = (
    *("title", "subject", "message", "utterance", "body", "transcript", "conversation", "dialogue", "question"),
    *("description", "summary", "note", "notes", "comment", "answer", "output", "result", "error", "value"),
)
#: Payloads that hold one exchange, as (what was asked, what was answered).
_EXCHANGES = (
    *(("user", "assistant"), ("user", "agent"), ("human", "ai"), ("prompt", "completion"), ("prompt", "response")),
    *(("input", "output"), ("question", "answer"), ("query", "response"), ("query", "answer")),
)
_PLAIN_MESSAGE = {"role", "content"}
_CAPTION_KEYS = ("blip_caption", "image_caption", "caption", "alt_text", "image_description")

#: String leaves read from a payload that has none of the known fields.
_MOST_LEAVES = 20_000
_MOST_DEPTH = 32


class Turn(NamedTuple):
    """One voice's uninterrupted words: `text[start:stop]`. `line` is where its label begins (`start` without one)."""

    speaker: str
    role: Role
    line: int
    start: int
    stop: int
    at: datetime | None


class _Part(NamedTuple):
    label: str
    name: str
    role: Role
    text: str
    at: datetime | None


def episode_text(payload: Mapping[str, Any]) -> str:
    """The text that is stored beside an episode and that passages point into."""
    text = payload.get("text")
    if isinstance(text, str) and text.strip() and not _has_turns(payload) and not _captions(payload):
        return text
    return _join(_parts(payload))


def episode_turns(
    payload: Mapping[str, Any],
    text: str,
    *,
    source: str = "",
    metadata: Mapping[str, Any] | None = None,
    known: Collection[str] = (),
) -> list[Turn]:
    """Who says which part of `text`, which must be `episode_text(payload)`; nothing of it belongs to nobody.

    The author is looked for in the message, then in the text itself ("Caroline: ..."), then in the payload, the
    metadata and the episode's source.

    Args:
        known: Names of people who are known to speak in the subject's episodes.
    """
    parts = _parts(payload)
    alone = len(parts) == 1
    turns: list[Turn] = []
    place = 0
    for part in parts:
        line = place
        start = place + (len(part.label) + 2 if part.label else 0)
        place = start + len(part.text) + 1
        name, role = part.name, part.role
        if alone and not name and role == "unknown":
            name, role = _author_beside(payload, metadata, source)
        turns += _split_voices(text, line, start, start + len(part.text), name, role, part.at, known)
    return turns


def _author_beside(payload: Mapping[str, Any], metadata: Mapping[str, Any] | None, source: str) -> tuple[str, Role]:
    for place in (payload, metadata or {}):
        name, role = author(place)
        if name or role != "unknown":
            return name, role
    return author_of_source(source)


def _split_voices(
    text: str, line: int, start: int, stop: int, name: str, role: Role, at: datetime | None, known: Collection[str]
) -> Iterator[Turn]:
    inner = text[start:stop]
    found = voices(inner, (*known, name) if name else known)
    if not found:
        yield Turn(name, role, line, start, stop, at)
        return
    for voice in found:
        own_role = role_of(voice.speaker)
        speaker = voice.speaker if own_role == "unknown" else ""
        if len(found) == 1 and own_role == "unknown":
            own_role = role
        said_at = (parse_when(voice.time) if voice.time else None) or at
        at_line = line if voice.line == 0 else start + voice.line
        if not voice.speaker:
            speaker, own_role = name, role
        yield Turn(speaker, own_role, at_line, start + voice.start, start + voice.stop, said_at)


def _join(parts: Sequence[_Part]) -> str:
    return "\n".join([f"{part.label}: {part.text}" if part.label else part.text for part in parts])


def _has_turns(payload: Mapping[str, Any]) -> bool:
    return any(isinstance(payload.get(key), list) for key in _TURN_LISTS)


def _parts(payload: Mapping[str, Any]) -> list[_Part]:
    """The payload as labelled pieces of text, in the order in which they are joined."""
    for key in _TURN_LISTS:
        entries = payload.get(key)
        if isinstance(entries, list) and (parts := _of_entries(entries)):
            return parts
    if text := _plain_text(payload):
        return [_Part("", "", "unknown", text, None)]
    if parts := _exchange(payload):
        return parts
    fields = [value for key in _OTHER_TEXT_KEYS if (value := _as_text(payload.get(key)))]
    if fields:
        return [_Part("", "", "unknown", "\n".join(fields), None)]
    rest = "\n".join(_leaves(payload))
    return [_Part("", "", "unknown", rest, None)] if rest else []


def _plain_text(holder: Mapping[str, Any]) -> str:
    text = next((value for key in _TEXT_KEYS if (value := _as_text(holder.get(key)))), "")
    captions = _captions(holder)
    return "\n".join([text, *captions]) if text and captions else text or "\n".join(captions)


def _captions(holder: Mapping[str, Any]) -> list[str]:
    return [
        f"[image: {value.strip()}]"
        for key in _CAPTION_KEYS
        if isinstance(value := holder.get(key), str) and value.strip()
    ]


def _of_entries(entries: Sequence[Any]) -> list[_Part]:
    parts = []
    for entry in entries:
        if isinstance(entry, str):
            if entry.strip():
                parts.append(_Part("", "", "unknown", entry, None))
        elif isinstance(entry, dict):
            parts += _of_message(entry)
    return parts


def _of_message(message: Mapping[str, Any]) -> list[_Part]:
    # PERF: nearly every message is a role and its words, and then there is nothing to look for.
    if message.keys() == _PLAIN_MESSAGE and isinstance(words := message["content"], str) and words.strip():
        said_by = message["role"]
        if isinstance(said_by, str) and (side := role_of(said_by)) != "unknown":
            return [_Part(said_by.strip(), "", side, words, None)]
    text = _plain_text(message) or next((t for key in _OTHER_TEXT_KEYS if (t := _as_text(message.get(key)))), "")
    if not text:
        return _exchange(message)
    name, role = author(message)
    raw_role = message.get("role")
    label = name or (raw_role.strip() if isinstance(raw_role, str) else "") or (role if role != "unknown" else "")
    return [_Part(label, name, role, text, message_time(message))]


def _exchange(holder: Mapping[str, Any]) -> list[_Part]:
    for asked, answered in _EXCHANGES:
        question, answer = _as_text(holder.get(asked)), _as_text(holder.get(answered))
        if question and answer:
            return [_Part("user", "", "user", question, None), _Part("assistant", "", "agent", answer, None)]
    return []


def _as_text(value: object) -> str:
    """A string as it is; the text parts of a structured message; nothing else."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if isinstance(value, list):
        return "\n".join(text for item in value[:_MOST_LEAVES] if (text := _of_content_part(item)))
    if isinstance(value, dict):
        return _of_content_part(value)
    return ""


def _of_content_part(item: object) -> str:
    if isinstance(item, str):
        return item if item.strip() else ""
    if isinstance(item, dict):
        return next((v for key in _TEXT_KEYS if isinstance(v := item.get(key), str) and v.strip()), "")
    return ""


def _leaves(payload: Mapping[str, Any]) -> Iterator[str]:
    """Lines "key: value" of every string or number in a document, in its order."""
    stack: list[tuple[str, Any, int]] = [("", payload, 0)]
    left = _MOST_LEAVES
    while stack and left > 0:
        key, value, depth = stack.pop()
        if isinstance(value, dict) and depth < _MOST_DEPTH:
            stack += [(str(k), v, depth + 1) for k, v in reversed(list(value.items()))]
        elif isinstance(value, list) and depth < _MOST_DEPTH:
            stack += [(key, v, depth + 1) for v in reversed(value)]
        elif (isinstance(value, str) and value.strip()) or (isinstance(value, (int, float)) and value is not True):
            left -= 1
            if value is not False:
                yield f"{key}: {value}" if key else str(value)
