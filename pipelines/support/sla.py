"""Service levels of sessions (contract: core §7.2): how soon somebody answered, how soon the issue was resolved.

Times are those at which things happened, not those at which they were stored, so replaying a history, or storing it in
another order, gives the same figures. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from pipelines.support.facts import Session, SubjectFacts

#: Defaults of the thresholds (contract: core §7.2).
FIRST_RESPONSE_MINUTES = 5.0
RESOLUTION_HOURS = 24.0


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """The moment until which somebody must answer, or the issue be resolved, in a session that is open."""

    session_id: str
    target: Literal["first_response", "resolution"]
    due_at: datetime


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


class ServiceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Figures over all sessions of a subject that have an episode."""

    subject_id: str
    total_sessions: int
    resolved_sessions: int
    open_sessions: int
    avg_first_response_seconds: float | None
    avg_resolution_seconds: float | None
    first_response_breach_count: int
    resolution_breach_count: int


class ServiceLevels(ServiceTotals, frozen=True, kw_only=True):
    """The figures of a subject with those of each session."""

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
    totals = service_totals(
        facts, subject_id=subject_id, first_response_minutes=first_response_minutes, resolution_hours=resolution_hours
    )
    levels = [
        session_level(
            session, now=now, first_response_minutes=first_response_minutes, resolution_hours=resolution_hours
        )
        for session in facts.sessions
        if session.episodes
    ]
    return ServiceLevels(**msgspec.structs.asdict(totals), sessions=levels)


def service_totals(
    facts: SubjectFacts,
    *,
    subject_id: str,
    first_response_minutes: float = FIRST_RESPONSE_MINUTES,
    resolution_hours: float = RESOLUTION_HOURS,
) -> ServiceTotals:
    """The figures over all sessions alone: a tenth of the work where nobody reads the sessions."""
    sessions = [session for session in facts.sessions if session.episodes]
    responses = [seconds for session in sessions if (seconds := first_response_seconds(session)) is not None]
    resolutions = [seconds for session in sessions if (seconds := resolution_seconds(session)) is not None]
    return ServiceTotals(
        subject_id=subject_id,
        total_sessions=len(sessions),
        resolved_sessions=sum(session.status == "resolved" for session in sessions),
        open_sessions=sum(session.status == "open" for session in sessions),
        avg_first_response_seconds=_mean(responses),
        avg_resolution_seconds=_mean(resolutions),
        first_response_breach_count=sum(seconds > first_response_minutes * 60 for seconds in responses),
        resolution_breach_count=sum(seconds > resolution_hours * 3600 for seconds in resolutions),
    )


def session_level(
    session: Session, *, now: datetime, first_response_minutes: float, resolution_hours: float
) -> SessionLevel:
    """Measure one session."""
    response, resolution = first_response_seconds(session), resolution_seconds(session)
    return SessionLevel(
        session_id=session.session_id,
        status=session.status or "unknown",
        first_message_at=_iso(session.first_user_at or session.first_at),
        first_response_at=_iso(session.first_agent_at),
        resolved_at=_iso(session.resolved_at) if resolution is not None else None,
        first_response_seconds=response,
        resolution_seconds=resolution,
        open_duration_seconds=open_seconds(session, now=now),
        first_response_breached=response is not None and response > first_response_minutes * 60,
        resolution_breached=resolution is not None and resolution > resolution_hours * 3600,
    )


def open_seconds(session: Session, *, now: datetime) -> float | None:
    """For how long a session has been open; None for any other, and where no customer spoke."""
    return _seconds(session.first_user_at, now) if session.status == "open" else None


def deadlines(sessions: Sequence[Session]) -> Iterator[Deadline]:
    """The clocks that run: those of open sessions in which a customer speaks, until answered and until resolved.

    The figures above count a breach when it is over, as the contract has it. These say of it while it lasts.
    """
    for session in sessions:
        if session.status != "open" or session.first_user_at is None:
            continue
        if session.first_agent_at is None:
            due_at = session.first_user_at + timedelta(minutes=FIRST_RESPONSE_MINUTES)
            yield Deadline(session_id=session.session_id, target="first_response", due_at=due_at)
        due_at = session.first_user_at + timedelta(hours=RESOLUTION_HOURS)
        yield Deadline(session_id=session.session_id, target="resolution", due_at=due_at)


def overdue(sessions: Sequence[Session], *, now: datetime) -> list[Deadline]:
    """The deadlines that have passed, the oldest first; on its last instant one is still kept."""
    passed = [deadline for deadline in deadlines(sessions) if deadline.due_at < now]
    return sorted(passed, key=lambda deadline: (deadline.due_at, deadline.session_id, deadline.target))


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


def _mean(values: Sequence[float]) -> float | None:
    # Summed exactly, so that the order of the sessions does not show in the last digit.
    return math.fsum(values) / len(values) if values else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
