"""A task, read once: its terms, whom and when it names, and what kind of answer it wants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from pipelines.dates_named import DateNamed, dates_named
from pipelines.speakers import normal_name, speaker_hash
from pipelines.terms import STOP_WORDS, language_of, query_terms

_ASKS_WHEN = re.compile(
    r"^\W*(?:when|how long|since when|(?:what|which) (?:date|day|month|year|time)|(?:in|on|by|since) (?:which|what) "
    r"(?:date|day|month|year)|how (?:old|often|soon|recently))\b|\bwhat (?:year|month|date|day)\b|\bwhen (?:did|was|is|"
    r"were|will|does|do|has|had)\b",
    re.I,
)
_ASKS_LIST = re.compile(
    r"\bhow (?:many|much|often)\b|\b(?:what|which) (?:are|were|kinds?|types?|sorts?|all|\w+s)\b"
    r"|\b(?:all|list|every)\b",
    re.I,
)

#: Characters of a task that are read; a longer one is cut for ranking, not for delivery.
MOST_CHARS = 4_000

_NAME_WORD = re.compile(r"[^\W_]+")
_WORD_WITH_POSSESSIVE = r"(?<![^\W_])(?:{})(?:['’]s)?(?![^\W_])"


@dataclass(frozen=True, slots=True)
class Query:
    """What ranking knows about a task."""

    text: str
    """The task without names: what is embedded."""
    task: str
    """The task as it was given."""
    terms: NDArray[np.uint32]
    """Distinct terms, names of speakers left out."""
    speakers: tuple[int, ...]
    """Hashes of the speakers it names, in the order of their mention."""
    dates: tuple[DateNamed, ...]
    """Dates it names."""
    asks_when: bool
    asks_list: bool


def parse_task(task: str, *, speakers: Sequence[str], now: datetime) -> Query:
    """Read a task.

    Args:
        task: What the agent is about to do or was asked.
        speakers: Names of the people who speak in the subject's episodes.
        now: What "yesterday" and "last month" count from.
    """
    task = task[:MOST_CHARS]
    named, words = _speakers_named(task, speakers)
    text = without_names(task, words)
    return Query(
        text=text if named else _without_capitals(text),
        task=task,
        terms=np.array(query_terms(text), dtype=np.uint32),
        speakers=named,
        dates=tuple(dates_named(task, now=now)),
        asks_when=_asks_when(task),
        asks_list=_ASKS_LIST.search(task) is not None,
    )


def _asks_when(task: str) -> bool:
    if _ASKS_WHEN.search(task):
        return True
    language = language_of(task, least=1)
    return language is not None and language.asks_when is not None and language.asks_when.search(task) is not None


def _speakers_named(task: str, speakers: Sequence[str]) -> tuple[tuple[int, ...], list[str]]:
    """Hashes of the speakers named, in the order of their mention, and the words that name them.

    A name counts when it is written with a capital, or anywhere if the task has none: "will" is not Will.
    """
    has_capitals = task != task.lower()
    first: dict[str, int] = {}
    for match in _NAME_WORD.finditer(task):
        if match[0][0].isupper() or not (has_capitals and match[0][0].islower()):
            first.setdefault(match[0].lower(), match.start())
    found: list[tuple[int, int]] = []
    words: list[str] = []
    for name in speakers:
        parts = [part for part in normal_name(name).split() if len(part) > 1 and part in first]
        parts = [part for part in parts if has_capitals or part not in STOP_WORDS]
        if parts:
            found.append((min(first[part] for part in parts), speaker_hash(name)))
            words += parts
    return tuple(dict.fromkeys(hashed for _, hashed in sorted(found))), words


def _without_capitals(text: str) -> str:
    """The text without capitalised words inside its sentences, if anything else is left.

    Where nobody's name is known, they are mostly names. Word vectors know little of names; terms keep them.
    """
    words = text.split()
    kept = [
        word
        for before, word in zip([".", *words], words, strict=False)
        if before[-1] in ".!?:" or not word.lstrip("\"'(")[:1].isupper() or word in ("I", "I'm", "I've", "I'd", "I'll")
    ]
    return " ".join(kept) if len(kept) > 1 else text


def without_names(text: str, words: Sequence[str]) -> str:
    """The text without the given words and their possessive endings."""
    if not words:
        return text
    pattern = _WORD_WITH_POSSESSIVE.format("|".join(map(re.escape, sorted(set(words), key=len, reverse=True))))
    rest = re.sub(pattern, " ", text, flags=re.I)
    return re.sub(r"\s+([?,.!])", r"\1", re.sub(r"\s+", " ", rest)).strip(" ,")
