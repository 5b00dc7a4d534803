"""Finding the voices in text that is itself a conversation: "Caroline: Hi!", "[9:12] Agent: ...", 'Mel said, "..."'."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from pipelines.speakers import looks_like_name, role_of

_TIME = r"(?:[\[(](?P<time>[^\])\n]{3,40})[\])][ \t]*(?:-[ \t]*)?)?"
_LABEL = r"(?P<name>[^\W\d_][^\n:\[\](){}<>\"“”,;!?]{0,39}?)"
_ASIDE = r"(?:[ \t]*[\[(](?P<aside>[^\])\n]{1,40})[\])])?"
_LINE = re.compile(rf"^[ \t]*(?:[-*>][ \t]+)?{_TIME}(?:\*\*)?{_LABEL}{_ASIDE}(?:\*\*)?:(?:\*\*)?[ \t]+(?=\S)", re.M)
_SAID = re.compile(
    r"^[ \t]*(?P<name>[A-Z][\w'’.-]*(?: [A-Z][\w'’.-]*){0,2}) (?:said|says|wrote|asked|replied)[,:]? (?=[\"“])", re.M
)

#: Share of a text's lines that must begin with a speaker before it is read as a transcript: where speakers come back,
#: and where two speak once each. A form ("City: Porto") has many labels, each once.
_LEAST_SHARE = 0.4
_SHARE_OF_TWO = 0.8
#: Turns from which labels that come back are enough, however long the turns are.
_LONG_TALK = 4


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
    found = _steady([m for m in _LINE.finditer(text) if _is_speaker(m["name"], known)], known)
    found = found or [m for m in _SAID.finditer(text) if _is_speaker(m["name"], known)]
    if not found or not _is_transcript(text, [m["name"].strip() for m in found]):
        return []
    ends = [m.start() for m in found[1:]] + [len(text)]
    turns = [Voice(m["name"].strip(), m.start(), m.end(), end, _time_of(m)) for m, end in zip(found, ends, strict=True)]
    if text[: found[0].start()].strip():
        turns.insert(0, Voice("", 0, 0, found[0].start(), None))
    return turns


def _is_speaker(name: str, known: Collection[str]) -> bool:
    return name.strip() in known or looks_like_name(name.strip())


def _steady(found: list[re.Match[str]], known: Collection[str]) -> list[re.Match[str]]:
    """Without the labels that come once, where others come back or are known: "Cost: 35 %" within what Ines says."""
    counts = Counter(m["name"].strip() for m in found)
    steady = {name for name, count in counts.items() if count > 1 or name in known or role_of(name) != "unknown"}
    certain = any(name in known for name in counts) or sum(counts[name] for name in steady) >= _LONG_TALK
    return [m for m in found if m["name"].strip() in steady] if certain else found


def _is_transcript(text: str, names: list[str]) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) == 1:
        return True
    counts = Counter(names)
    share = len(names) / len(lines)
    if len(names) == 1:
        return _opens(text, names[0])
    if len(names) >= _LONG_TALK and len(counts) <= len(names) // 2:
        return True  # long answers between few labels, which come back
    if max(counts.values()) > 1:
        return share >= _LEAST_SHARE
    return len(counts) == 2 and share >= _SHARE_OF_TWO


def _opens(text: str, name: str) -> bool:
    """One label, at the very beginning: a message that carries its author's name."""
    return text.lstrip(" \t-*>[(").startswith(name)


def _time_of(match: re.Match[str]) -> str | None:
    groups = match.groupdict()
    return groups.get("time") or groups.get("aside")
