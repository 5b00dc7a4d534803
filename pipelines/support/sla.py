"""Service levels of sessions (contract: core §7.2): how soon somebody answered, how soon the issue was resolved.

Times are those at which things happened, not those at which they were stored, so replaying a history, or storing it in
another order, gives the same figures. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pipelines.support.facts import Session, SubjectFacts

#: Defaults of the thresholds (contract: core §7.2).
FIRST_RESPONSE_MINUTES = 5.0
RESOLUTION_HOURS = 24.0


class SessionLevel(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one session, with the field names of the wire. What cannot be known is null."""

    session_id: str
    status: str
    first_message_at: str | None
    first_response_at: str | None
    resolved_at: str | None
    first_response_seconds: float | None
    resolution_seconds: float | None
    open_duration_seconds: float | None
    first_response_breached: bool
    resolution_breached: bool


class ServiceLevels(msgspec.Struct, frozen=True, kw_only=True):
    """Figures over all sessions of a subject that have an episode."""

    subject_id: str
    total_sessions: int
    resolved_sessions: int
    open_sessions: int
    avg_first_response_seconds: float | None
    avg_resolution_seconds: float | None
    first_response_breach_count: int
    resolution_breach_count: int
    sessions: list[SessionLevel]


def service_levels(
    facts: SubjectFacts,
    *,
    subject_id: str,
    now: datetime,
    first_response_minutes: float = FIRST_RESPONSE_MINUTES,
    resolution_hours: float = RESOLUTION_HOURS,
) -> ServiceLevels:
    """Measure every session against the thresholds; a time equal to its threshold keeps it."""
    levels = [
        session_level(
            session, now=now, first_response_minutes=first_response_minutes, resolution_hours=resolution_hours
        )
        for session in facts.sessions
        if session.episodes
    ]
    return ServiceLevels(
        subject_id=subject_id,
        total_sessions=len(levels),
        resolved_sessions=sum(level.status == "resolved" for level in levels),
        open_sessions=sum(level.status == "open" for level in levels),
        avg_first_response_seconds=_mean([level.first_response_seconds for level in levels]),
        avg_resolution_seconds=_mean([level.resolution_seconds for level in levels]),
        first_response_breach_count=sum(level.first_response_breached for level in levels),
        resolution_breach_count=sum(level.resolution_breached for level in levels),
        sessions=levels,
    )


def session_level(
    session: Session, *, now: datetime, first_response_minutes: float, resolution_hours: float
) -> SessionLevel:
    """Measure one session."""
    response, resolution = first_response_seconds(session), resolution_seconds(session)
    is_open = session.status == "open" and session.first_user_at is not None
    return SessionLevel(
        session_id=session.session_id,
        status=session.status or "unknown",
        first_message_at=_iso(session.first_user_at or session.first_at),
        first_response_at=_iso(session.first_agent_at),
        resolved_at=_iso(session.resolved_at) if resolution is not None else None,
        first_response_seconds=response,
        resolution_seconds=resolution,
        open_duration_seconds=_seconds(session.first_user_at, now) if is_open else None,
        first_response_breached=response is not None and response > first_response_minutes * 60,
        resolution_breached=resolution is not None and resolution > resolution_hours * 3600,
    )


def first_response_seconds(session: Session) -> float | None:
    """From the customer's first word to the first answer; None while one of them is missing."""
    return _seconds(session.first_user_at, session.first_agent_at)


def resolution_seconds(session: Session) -> float | None:
    """From the customer's first word to the resolution; None while one of them is missing."""
    return _seconds(session.first_user_at, session.resolved_at)


def _seconds(start: datetime | None, stop: datetime | None) -> float | None:
    """Never negative: a clock that is ahead of ours does not answer before it was asked."""
    if start is None or stop is None:
        return None
    return max(0.0, (stop - start).total_seconds())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
