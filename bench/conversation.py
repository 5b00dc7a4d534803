"""Conversations whose evidence is known: the LoCoMo file format as plain data.

A file holds `speaker_a`, `speaker_b`, sessions (`session_N` with `session_N_date_time`) and questions (`qa`)
that name the turns (`dia_id`) holding their evidence. `bench/conversations/README.md` describes it in full.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

#: Question categories of the format, by their number in the file.
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "unanswerable"}

#: The category whose answer is not in the conversation; it has no part in evidence scores.
UNANSWERABLE = 5

_TIME_FORMAT = "%I:%M %p on %d %B, %Y"
_SESSION_KEY = re.compile(r"session_(\d+)")
#: Keys of the public set are now and then sloppy: several in one string, or `D:11:26` for `D11:26`.
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. `text` is what was said; `caption` describes a picture that was shared with it."""

    id: str
    speaker: str
    role: str
    text: str
    caption: str | None = None

    @property
    def content(self) -> str:
        """What is ingested: the text, and the picture's caption when there is one."""
        return f"{self.text} [image: {self.caption}]" if self.caption else self.text


@dataclass(frozen=True, slots=True)
class Session:
    """Consecutive turns that began at `started_at` (the format gives no time zone; read as UTC)."""

    id: str
    started_at: datetime
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the ids of the turns a reader needs for its answer."""

    text: str
    answer: str
    category: int
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Conversation:
    """One relationship: every session between two people, and questions about it."""

    name: str
    speakers: tuple[str, str]
    sessions: tuple[Session, ...]
    questions: tuple[Question, ...]

    @cached_property
    def turns(self) -> dict[str, Turn]:
        """Every turn by its id, in the order of the conversation."""
        return {turn.id: turn for session in self.sessions for turn in session.turns}

    @cached_property
    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """For each turn the turns directly before and after it in the same session."""
        found: dict[str, tuple[str, ...]] = {}
        for session in self.sessions:
            ids = [turn.id for turn in session.turns]
            for position, turn_id in enumerate(ids):
                found[turn_id] = tuple(ids[max(0, position - 1) : position] + ids[position + 1 : position + 2])
        return found

    @property
    def answerable(self) -> list[Question]:
        """Questions that count for evidence: answerable, with at least one known turn as evidence."""
        return [q for q in self.questions if q.category != UNANSWERABLE and q.evidence]


def load_directory(folder: Path) -> list[Conversation]:
    """Read every conversation in `folder`, in the order of the file names.

    Raises:
        FileNotFoundError: when there is no `.json` file.
        ValueError: naming the file that is not in the format.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"No conversations (*.json) in {folder}")
    return [load_file(file) for file in files]


def load_file(file: Path) -> Conversation:
    """Read one conversation.

    Raises:
        ValueError: when the file is not in the format.
    """
    try:
        return parse(file.stem, json.loads(file.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as ex:
        raise ValueError(f"{file} is not a conversation in the LoCoMo format: {ex!r}") from ex


def parse(name: str, document: Mapping[str, Any]) -> Conversation:
    """Build a conversation from its decoded file. Evidence that names no existing turn is left out."""
    roles: Mapping[str, str] = document.get("roles", {})
    sessions = tuple(_session(document, number, roles) for number in _session_numbers(document))
    known = {turn.id for session in sessions for turn in session.turns}
    return Conversation(
        name=name,
        speakers=(document["speaker_a"], document["speaker_b"]),
        sessions=sessions,
        questions=tuple(_question(item, known) for item in document["qa"]),
    )


def _session_numbers(document: Mapping[str, Any]) -> list[int]:
    return sorted(int(match[1]) for key in document if (match := _SESSION_KEY.fullmatch(key)))


def _session(document: Mapping[str, Any], number: int, roles: Mapping[str, str]) -> Session:
    started_at = datetime.strptime(document[f"session_{number}_date_time"].strip(), _TIME_FORMAT)
    turns = tuple(
        Turn(
            id=item["dia_id"],
            speaker=item["speaker"],
            role=roles.get(item["speaker"], "user"),
            text=item["text"],
            caption=item.get("blip_caption"),
        )
        for item in document[f"session_{number}"]
    )
    return Session(id=f"session-{number}", started_at=started_at.replace(tzinfo=UTC), turns=turns)


def _question(item: Mapping[str, Any], known: set[str]) -> Question:
    named = [f"D{int(m[1])}:{int(m[2])}" for text in item["evidence"] for m in _TURN_ID.finditer(text)]
    return Question(
        text=item["question"],
        answer=str(item.get("answer", item.get("adversarial_answer", ""))),
        category=item["category"],
        evidence=tuple(dict.fromkeys(turn_id for turn_id in named if turn_id in known)),
    )
