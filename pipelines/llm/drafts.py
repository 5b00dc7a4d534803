"""What of a model's answer becomes a draft: nothing is believed that the records it was shown do not carry.

A memory must be of a known kind, name an episode of the batch and share words with it. A fact must come from a line
that a person said. A claim must have a declared key and a value that the memory says. So whatever
a record makes a model answer, the answer can only describe that record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.claims import CLAIM_KEY, ClaimKeys, claim_metadata, scoped
from pipelines.compilation import (
    EPISODE_SUMMARY,
    PROCEDURE,
    PROFILE_FACT,
    SUMMARY_CHARS,
    DraftMemory,
    EpisodeInput,
    content_hash,
    shorten,
    words,
)
from pipelines.llm.frame import visible
from pipelines.llm.windows import Line, Window

COMPILER = "llm"

#: Characters of one memory. A model that goes on for longer copies instead of extracting.
MOST_CONTENT = 4000

#: Memories of one window that are taken.
MOST_MEMORIES = 200

DEFAULT_CONFIDENCE = 0.7

#: What models write in place of a number.
_WORDS_OF_CONFIDENCE = {
    **dict.fromkeys(("certain", "very high", "definite"), 0.95),
    **dict.fromkeys(("high", "strong", "likely"), 0.9),
    **dict.fromkeys(("medium", "moderate", "probable"), 0.7),
    **dict.fromkeys(("low", "weak", "uncertain", "possible"), 0.4),
    **dict.fromkeys(("very low", "none", "unlikely"), 0.2),
}

#: Kinds under other names that models give them.
_KINDS = {
    PROFILE_FACT: PROFILE_FACT,
    EPISODE_SUMMARY: EPISODE_SUMMARY,
    PROCEDURE: PROCEDURE,
    "fact": PROFILE_FACT,
    "preference": PROFILE_FACT,
}

#: Words that say something, and numbers. Scripts without spaces between words yield none.
_WORD = re.compile(r"\b(?:[a-z\u00c0-\u052f]{4,}|\d{2,})\b")


@dataclass(frozen=True, slots=True)
class Source:
    """An episode as drafts need it.

    Attributes:
        anchor: when what it tells of happened.
        among_people: whether people talk to each other, so that facts name theirs.
    """

    episode: EpisodeInput
    anchor: datetime
    among_people: bool


def drafts_of(
    answers: Iterable[Mapping[str, Any]],
    batch: Sequence[Window],
    sources: Sequence[Source],
    *,
    model: str,
    claim_keys: ClaimKeys,
    sweep: bool = False,
) -> list[DraftMemory]:
    """Drafts of those entries of an answer that hold.

    Args:
        batch: the windows that the model was shown, in their order.
        sources: all episodes that are compiled; windows name theirs by its place here.
    """
    drafts = []
    for place, entry in enumerate(answers):
        if place >= MOST_MEMORIES * len(batch):
            break
        content = _text(entry.get("content"))[:MOST_CONTENT]
        if not content:
            continue
        kind = _KINDS.get(_text(entry.get("kind")).lower(), EPISODE_SUMMARY)
        window = _window(entry, content, batch)
        line = _line(entry, content, window)
        if kind == PROFILE_FACT and not _may_state(line, window, sources[window.episode]):
            continue
        if not _shares_words(content, " ".join(shown.text for shown in window.lines)):
            continue
        drafts.append(_draft(kind, content, entry, line, place, sources[window.episode], model, claim_keys, sweep))
    return drafts


def _draft(
    kind: str,
    content: str,
    entry: Mapping[str, Any],
    line: Line | None,
    place: int,
    source: Source,
    model: str,
    claim_keys: ClaimKeys,
    sweep: bool,
) -> DraftMemory:
    metadata: dict[str, Any] = {"compiler": COMPILER, "model": model}
    if sweep:
        metadata["pass"] = "recall"
    speaker = line.speaker if line is not None and source.among_people else None
    if speaker:
        metadata["speaker"] = speaker
    valid_from = (line.at if line is not None else None) or source.anchor
    key = value = None
    if kind == PROFILE_FACT and (claim := _claim(entry.get("claim"), content, claim_keys)) is not None:
        metadata["claim"] = claim_metadata(*claim, valid_from)
        key, value = scoped(claim[0], speaker), claim[1]
    metadata["position"] = [source.episode.seq, line.turn if line is not None else 0, place]
    summary = _text(entry.get("summary"))
    return DraftMemory(
        kind=kind,
        content=content,
        summary=shorten(summary or content, SUMMARY_CHARS),
        confidence=confidence(entry.get("confidence")),
        valid_from=valid_from,
        source_episode_ids=[source.episode.id],
        metadata=metadata,
        claim_key=key,
        claim_value=value,
        content_hash=content_hash(content),
    )


def confidence(value: object) -> float:
    """A number from 0 to 1, whatever way the model said it; 0.7 when it said none."""
    if isinstance(value, str):
        told = value.strip().lower()
        if told in _WORDS_OF_CONFIDENCE:
            return _WORDS_OF_CONFIDENCE[told]
        try:
            value = float(told.rstrip("%")) / (100 if told.endswith("%") else 1)
        except ValueError:
            return DEFAULT_CONFIDENCE
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return DEFAULT_CONFIDENCE
    return min(1.0, max(0.0, float(value)))


def _window(entry: Mapping[str, Any], content: str, batch: Sequence[Window]) -> Window:
    """The window the entry names; when there is none of that number, the one that shares most words with it."""
    index = entry.get("episode_index")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(batch):
        return batch[index]
    stems = _stems(content)
    return max(batch, key=lambda window: len(stems & _stems(" ".join(line.text for line in window.lines))))


def _line(entry: Mapping[str, Any], content: str, window: Window) -> Line | None:
    number = entry.get("line")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(window.lines):
        return window.lines[number]
    stems = _stems(content)
    best = max(window.lines, key=lambda line: len(stems & _stems(line.text)))
    return best if stems & _stems(best.text) else None


def _may_state(line: Line | None, window: Window, source: Source) -> bool:
    """Whether a fact about a person may come from there: people state facts, agents and system prompts do not."""
    people = ("user", "unknown")
    if line is not None:
        return line.role in people
    return any(shown.role in people for shown in window.lines)


def _shares_words(content: str, record: str) -> bool:
    """Whether a memory has anything in common with its record; true where words cannot be told apart (Chinese)."""
    stems = _stems(content)
    return not stems or not stems.isdisjoint(_stems(record))


def _stems(text: str) -> set[str]:
    """Beginnings of words: most forms of a word share their first letters."""
    return {word[:4] for word in _WORD.findall(text.lower())}


def _claim(claim: object, content: str, claim_keys: ClaimKeys) -> tuple[str, str] | None:
    """Key and value of a claim that is declared and said."""
    if not isinstance(claim, Mapping):
        return None
    key, value = _text(claim.get("key")).lower(), _text(claim.get("value"))
    if not value or not CLAIM_KEY.fullmatch(key) or claim_keys.cardinality(key) is None:
        return None
    said = words(content)
    return (key, value) if any(word in said for word in words(value)) else None


def _text(value: object) -> str:
    """Text of what the model wrote: a list is joined, anything but text and numbers is nothing."""
    if isinstance(value, list):
        value = "\n".join(item for item in value if isinstance(item, str))
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return visible(str(value)).encode("utf-8", "ignore").decode().strip()
