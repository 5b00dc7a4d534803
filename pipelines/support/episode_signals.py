"""What support figures need of an episode, read from it once, when it is stored: whose voices it holds and when they
speak, when it happened, and whether it speaks of an emergency.

PERF: this runs for every episode that is ingested (5 to 10 µs). The full reading of a payload
(`pipelines.episode_text.episode_turns`) is for payloads that do not simply say who speaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from pipelines.episode_text import episode_turns
from pipelines.speakers import AUTHOR_KEYS, ROLES, Role, author, role_of
from pipelines.temporal_anchor import episode_anchor, message_time
from storage.episodes import EpisodeSignal

#: Sources besides the role words that stand for a side (contract: core §7.1, §7.2; both lists, united).
_USER_CHANNELS = frozenset({"chat", "support-chat", "support_chat", "manual_input"})
_AGENT_CHANNELS = frozenset({"support", "system", "tool"})

#: Words that make an episode an escalation (contract: core §7.1), as whole words: "download" is not "down".
_EMERGENCY = re.compile(
    r"\b(?:urgent(?:ly)?|critical(?:ly)?|asap|emergenc(?:y|ies)|escalat\w*|broken|down|outages?|blockers?"
    r"|p[01]|sev[ -]?[12])\b",
    re.I,
)
_PREFILTER = (
    "urgent",
    "critical",
    "asap",
    "emergenc",
    "escalat",
    "broken",
    "down",
    "outage",
    "blocker",
    "p0",
    "p1",
    "sev",
)

#: The same words where nothing is wrong: "scroll down", "broken down by month", "down payment", "not urgent".
_HARMLESS = re.compile(
    r"\b(?:scroll|write|writ|wrote|not|jot|calm|cool|slow|break|broken|narrow|boil|come|sit|cut|settl|drop|pull|track|tone)"
    r"(?:e|es|s|ed|ing|ten|ting|ning|ping)? (?:(?:it|that|this|them|things|all|everything|prices|costs) )?down\b"
    r"|\bdown ?(?:payments?|to earth|the (?:road|line|page|list)|below|arrow)\b"
    r"|\b(?:not|isn['’]?t|aren['’]?t|wasn['’]?t|nothing(?: is| was)?|never|no longer|non)[ -]?"
    r"(?:(?:really|that|so|very|super|at all|terribly|an?) )?(?:urgent|critical|broken|down|emergency|blocker)\b",
    re.I,
)


#: PERF: operations of an IntFlag cost more than everything else here.
_CUSTOMER, _AGENT, _ESCALATES = map(
    int, (EpisodeSignal.CUSTOMER_SPEAKS, EpisodeSignal.AGENT_SPEAKS, EpisodeSignal.ESCALATES)
)

#: A side, and when it speaks if that is known.
Voice: TypeAlias = tuple[Role, datetime | None]


class EpisodeSignals(NamedTuple):
    """`user_at` is the customer's first word in the episode, `agent_at` every moment at which the other side speaks."""

    event_at: datetime
    user_at: datetime | None
    agent_at: list[datetime]
    escalates: bool

    @property
    def flags(self) -> int:
        """As they are stored."""
        customer = _CUSTOMER if self.user_at is not None else 0
        agent = _AGENT if self.agent_at else 0
        return customer | agent | (_ESCALATES if self.escalates else 0)


def episode_signals(
    payload: Mapping[str, Any],
    text: str,
    *,
    source: str,
    metadata: Mapping[str, Any],
    occurred_at: datetime | None,
    now: datetime,
) -> EpisodeSignals:
    """Read an episode.

    Args:
        text: `episode_text(payload)`.
        occurred_at: As sent; None when the client named no time.
        now: The time of ingestion.
    """
    if occurred_at is not None and occurred_at != now and "event_time" not in payload:
        event_at = occurred_at
    else:
        event_at = episode_anchor(payload, occurred_at=occurred_at, created_at=now)
    voices = _voices(payload, text, source, metadata)
    if not any(said_at for _, said_at in voices):
        roles = {role for role, _ in voices}
        spoken = [event_at] if "agent" in roles else []
        return EpisodeSignals(event_at, event_at if "user" in roles else None, spoken, escalates(text))
    user_at, agent_at = _moments(voices, event_at)
    return EpisodeSignals(event_at, user_at, agent_at, escalates(text))


def escalates(text: str) -> bool:
    """Whether a text speaks of an emergency, an outage or an escalation."""
    lower = text.lower()
    for word in _PREFILTER:
        if word in lower:
            break
    else:
        return False
    return _EMERGENCY.search(lower) is not None and _EMERGENCY.search(_HARMLESS.sub(" ", lower)) is not None


def _moments(voices: Iterable[Voice], event_at: datetime) -> tuple[datetime | None, list[datetime]]:
    """The customer's first moment and all of the other side's. Who has no time speaks with the one before."""
    user_at: datetime | None = None
    agent_at: set[datetime] = set()
    moment = event_at
    for role, said_at in voices:
        moment = said_at or moment
        if role == "user":
            user_at = moment if user_at is None else min(user_at, moment)
        elif role == "agent":
            agent_at.add(moment)
    return user_at, sorted(agent_at)


def side_of_source(source: str) -> Role:
    """The side that an episode's source stands for when nothing inside it says more."""
    name = source.strip().lower()
    if name in _USER_CHANNELS:
        return "user"
    if name in _AGENT_CHANNELS:
        return "agent"
    return ROLES.get(name, "unknown")


def _voices(payload: Mapping[str, Any], text: str, source: str, metadata: Mapping[str, Any]) -> list[Voice]:
    voices = _of_messages(payload) or _of_text(payload, text, source, metadata)
    known = {role for role, _ in voices}
    name = source.strip().lower()
    side = side_of_source(source)
    if not known & {"user", "agent"}:
        return [(side if role == "unknown" or side == "agent" else role, at) for role, at in voices]
    # A source that is nothing but the name of a side vouches for it, whatever the labels inside say.
    if side not in known and name in ROLES and name not in _AGENT_CHANNELS:
        return [*voices, (side, None)]
    return voices


def _of_messages(payload: Mapping[str, Any]) -> list[Voice]:
    """Roles and times of a list of messages that says both plainly; empty when the payload has to be read in full."""
    messages = payload.get("messages")
    if not isinstance(messages, list):
        return []
    voices: list[Voice] = []
    for message in messages:
        if not isinstance(message, dict):
            return []
        label = message.get("role")
        role = role_of(label) if isinstance(label, str) else "unknown"
        if role == "unknown":
            return []
        voices.append((role, message_time(message)))
    return voices


def _of_text(payload: Mapping[str, Any], text: str, source: str, metadata: Mapping[str, Any]) -> list[Voice]:
    # Whatever gives a voice a role writes it before a colon, or is asked below.
    if ": " in text or ":*" in text or ":\t" in text:
        turns = episode_turns(payload, text, metadata=metadata)
        return [(turn.role, turn.at) for turn in turns]
    for holder in (payload, metadata):
        if not AUTHOR_KEYS.isdisjoint(holder):
            _, role = author(holder)
            if role != "unknown":
                return [(role, None)]
    return [("unknown", None)]
