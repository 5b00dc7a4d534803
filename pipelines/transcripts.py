"""Finding the voices in text that is itself a conversation: "Caroline: Hi!", "[9:12] Agent: ...", 'Mel said, "..."'."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from pipelines.speakers import looks_like_name

_TIME = r"(?:[\[(](?P<time>[^\])\n]{3,40})[\])][ \t]*(?:-[ \t]*)?)?"
_LABEL = r"(?P<name>[^\W\d_][^\n:\[\](){}<>\"“”,;!?]{0,39}?)"
_ASIDE = r"(?:[ \t]*[\[(](?P<aside>[^\])\n]{1,40})[\])])?"
_LINE = re.compile(rf"^[ \t]*(?:[-*>][ \t]+)?{_TIME}(?:\*\*)?{_LABEL}{_ASIDE}(?:\*\*)?:(?:\*\*)?[ \t]+(?=\S)", re.M)
_SAID = re.compile(
    r"^[ \t]*(?P<name>[A-Z][\w'’.-]*(?: [A-Z][\w'’.-]*){0,2}) (?:said|says|wrote|asked|replied)[,:]? (?=[\"“])", re.M
)

#: Share of a text's lines that must begin with a speaker before it is read as a transcript.
_LEAST_SHARE = 0.4


class Voice(NamedTuple):
    """One turn of a transcript. `line` is where its label begins, `start` where its words do."""

    speaker: str
    line: int
    start: int
    stop: int
    time: str | None


def voices(text: str, known: Collection[str] = ()) -> list[Voice]:
    """Split a transcript into turns; empty if the text is not one.

    A text of one line counts when it begins with a plausible name. Longer texts must begin several of their lines
    so: a document with one "Note: ..." in it is no conversation.

    Args:
        text: Any text.
        known: Names that are known to speak; lower-case or not.
    """
    if ":" not in text and '"' not in text and "“" not in text:
        return []
    found = [m for m in _LINE.finditer(text) if _is_speaker(m["name"], known)] or list(_SAID.finditer(text))
    if not found or not _is_transcript(text, [m["name"].strip() for m in found]):
        return []
    ends = [m.start() for m in found[1:]] + [len(text)]
    turns = [Voice(m["name"].strip(), m.start(), m.end(), end, _time_of(m)) for m, end in zip(found, ends, strict=True)]
    if text[: found[0].start()].strip():
        turns.insert(0, Voice("", 0, 0, found[0].start(), None))
    return turns


def _is_speaker(name: str, known: Collection[str]) -> bool:
    return name.strip() in known or looks_like_name(name.strip())


def _is_transcript(text: str, names: list[str]) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) == 1:
        return True
    counts = Counter(names)
    talks = len(counts) > 1 or max(counts.values()) > 1
    if len(names) >= 2 and talks and len(names) >= _LEAST_SHARE * len(lines):
        return True
    # Long answers between few labels: the labels must come back.
    return (len(names) >= 4 and len(counts) <= len(names) // 2) or (len(names) == 1 and _opens(text, names[0]))


def _opens(text: str, name: str) -> bool:
    """One label, at the very beginning: a message that carries its author's name."""
    return text.lstrip(" \t-*>[(").startswith(name)


def _time_of(match: re.Match[str]) -> str | None:
    groups = match.groupdict()
    return groups.get("time") or groups.get("aside")
