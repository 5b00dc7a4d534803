"""What was tried in a session, and with what outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from pipelines.episode_text import episode_turns
from pipelines.support.episode_signals import side_of_source
from pipelines.support.excerpts import excerpt
from storage.handoffs import ACTION_TYPES, QuotableEpisode

#: Steps that are told, and characters of each (contract: core §7.3).
MOST_STEPS = 5
STEP_CHARS = 150

#: Characters of the reason of an outcome.
REASON_CHARS = 80

#: Shorter words of an agent are courtesy ("One moment, please."), not a step.
_LEAST_CHARS = 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that was tried."""

    text: str
    episode_id: UUID
    at: datetime


def attempts(session: Sequence[QuotableEpisode]) -> list[Attempt]:
    """The most telling steps of a session, oldest first: actions before what an agent said, statements before
    questions, newer before older."""
    found: list[tuple[int, int, Attempt]] = []
    for episode in session:
        for weight, words in _steps(episode):
            suffix = _outcome(episode)
            text = excerpt(words, STEP_CHARS - len(suffix)) + suffix
            found.append((weight, len(found), Attempt(text, episode.id, episode.event_at)))
    best = sorted(found, key=lambda step: (-step[0], -step[1]))[:MOST_STEPS]
    return [attempt for _, _, attempt in sorted(best, key=lambda step: step[1])]


def first_words(episode: QuotableEpisode) -> str:
    """What the customer says first in an episode; all of it where no voice is theirs."""
    payload, metadata = _document(episode.payload), _document(episode.metadata)
    turns = episode_turns(payload, episode.body, source=episode.source, metadata=metadata)
    own = next((turn for turn in turns if turn.role == "user" and turn.stop > turn.start), None)
    return episode.body[own.start : own.stop] if own else episode.body


def _steps(episode: QuotableEpisode) -> list[tuple[int, str]]:
    """(weight, words) of each step in an episode."""
    if not episode.body.strip():
        return []
    if episode.type in ACTION_TYPES:
        return [(4, episode.body)]
    if "outcome" in _document(episode.metadata):
        return [(3, episode.body)]
    turns = episode_turns(
        _document(episode.payload), episode.body, source=episode.source, metadata=_document(episode.metadata)
    )
    voices = {turn.role for turn in turns}
    if not voices & {"user", "agent"} and side_of_source(episode.source) == "agent":
        return [(2, episode.body)]
    words = [episode.body[turn.start : turn.stop].strip() for turn in turns if turn.role == "agent"]
    return [(_weight(said), said) for said in words if len(said) >= _LEAST_CHARS]


def _weight(said: str) -> int:
    return 1 if said.rstrip("\"')] ").endswith("?") else 2


def _outcome(episode: QuotableEpisode) -> str:
    outcome = _document(episode.metadata).get("outcome")
    if not isinstance(outcome, dict) or outcome.get("status") not in ("succeeded", "failed"):
        return ""
    reason = outcome.get("reason")
    told = f": {excerpt(reason, REASON_CHARS)}" if isinstance(reason, str) and reason.strip() else ""
    return f" [{outcome['status']}{told}]"


def _document(raw: msgspec.Raw) -> dict[str, Any]:
    value = msgspec.json.decode(raw)
    return value if isinstance(value, dict) else {}
