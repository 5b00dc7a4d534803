"""The health of a subject (contract: core §7.1): 100 points, and every factor that takes some away or gives some back.

Pure: the same facts at the same time give the same score. Every impact is a multiple of five.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from pipelines.support.facts import Session, SubjectFacts
from pipelines.support.sla import (
    FIRST_RESPONSE_MINUTES,
    RESOLUTION_HOURS,
    Deadline,
    deadlines,
    first_response_seconds,
    overdue,
    resolution_seconds,
)

State = Literal["healthy", "watch", "at_risk"]

#: Lowest score of each state (contract: core §7.1).
HEALTHY_FROM = 70
WATCH_FROM = 40

#: An open issue that nobody has touched for this long counts as idle; a resolution within it as recent.
IDLE_AFTER = timedelta(days=7)
RECENT_WITHIN = timedelta(days=7)

#: Mean first response, in seconds, above which customers wait too long.
SLOW_FIRST_RESPONSE = 600.0

#: Records, and share of them resolved, from which the resolution rate is high.
LEAST_RECORDS, HIGH_RATE = 2, 0.8


_STEP = timedelta(milliseconds=1)


class Factor(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for the score."""

    signal: str
    impact: int
    detail: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A score, its state, and the reasons in the contract's order.

    `overdue` are deadlines of open sessions that have passed. They take nothing from the score, whose factors are the
    contract's, but subscribers are not told that such a subject is healthy (`pipelines.support.health_alerts`).
    """

    score: int
    state: State
    factors: list[Factor]
    overdue: list[Deadline] = []


@dataclass(frozen=True, slots=True)
class _View:
    facts: SubjectFacts
    recent: list[Session]
    recorded: list[Session]
    now: datetime

    def with_status(self, status: str) -> list[Session]:
        return [session for session in self.recorded if session.status == status]


def assess(facts: SubjectFacts, *, now: datetime) -> Health:
    """Work out the health of a subject."""
    recent, recorded = facts.windowed()
    view = _View(facts, recent, recorded, now)
    factors = [factor for rule in _RULES if (factor := rule(view)) is not None]
    score = max(0, min(100, 100 + sum(factor.impact for factor in factors)))
    return Health(score=score, state=state_of(score), factors=factors, overdue=overdue(recorded, now=now))


def state_of(score: int) -> State:
    """The contract's state of a score."""
    if score >= HEALTHY_FROM:
        return "healthy"
    return "watch" if score >= WATCH_FROM else "at_risk"


def next_change_by_time(facts: SubjectFacts, *, now: datetime) -> datetime | None:
    """The first moment at which health may change although nothing happens; None if there is none."""
    _, recorded = facts.windowed()
    moments = [
        *(s.newest_at + IDLE_AFTER for s in recorded if s.status == "open" and s.newest_at is not None),
        # One step further: on the last instant of its week a resolution is still recent, and a deadline is kept.
        *(s.resolved_at + RECENT_WITHIN + _STEP for s in recorded if s.resolved_at is not None),
        *(deadline.due_at + _STEP for deadline in deadlines(recorded)),
    ]
    return min((moment for moment in moments if moment > now), default=None)


def overdue_factor(health: Health, *, now: datetime) -> Factor | None:
    """What has been overdue for longest, told as a reason. Its impact is on the state, not on the score."""
    if not health.overdue:
        return None
    first = health.overdue[0]
    late = _span(now - first.due_at)
    if first.target == "first_response":
        target = f"first answer after {FIRST_RESPONSE_MINUTES:.0f} minutes"
    else:
        target = f"resolution within {RESOLUTION_HOURS:.0f} hours"
    detail = f"Open session [{first.session_id}] is {late} over its service level: {target}"
    return Factor(signal="sla_overdue", impact=0, detail=detail)


def _span(time: timedelta) -> str:
    minutes = time // timedelta(minutes=1)
    if minutes < 120:
        return _count(minutes, "minute")
    return _count(minutes // 60, "hour") if minutes < 48 * 60 else f"{time.days} days"


def _unresolved_issues(view: _View) -> Factor | None:
    count = len(view.with_status("open"))
    return _factor("unresolved_issues", -min(15 * count, 45), f"{_count(count, 'open issue')}")


def _repeated_issues(view: _View) -> Factor | None:
    if not view.facts.repeats:
        return None
    repeat = view.facts.repeats[0]
    detail = f"Open session [{repeat.session_id}] resembles resolved session [{repeat.earlier_session_id}]"
    return _factor("repeated_issues", -20, detail)


def _escalations(view: _View) -> Factor | None:
    count = view.facts.escalations
    detail = f"{_count(count, 'message')} about an emergency, outage or escalation"
    return _factor("escalations", -min(10 * count, 20), detail)


def _idle_open_issue(view: _View) -> Factor | None:
    idle = [
        (view.now - session.newest_at, session.session_id)
        for session in view.with_status("open")
        if session.newest_at is not None and view.now - session.newest_at >= IDLE_AFTER
    ]
    if not idle:
        return None
    age, session_id = max(idle)
    return _factor("idle_open_issue", -15, f"Open session [{session_id}] has been silent for {age.days} days")


def _recent_resolution(view: _View) -> Factor | None:
    recent = [s for s in view.with_status("resolved") if s.resolved_at and view.now - s.resolved_at <= RECENT_WITHIN]
    return _factor(
        "recent_resolution", 10 if recent else 0, f"{_count(len(recent), 'issue')} resolved in the last 7 days"
    )


def _high_resolution_rate(view: _View) -> Factor | None:
    total, resolved = len(view.recorded), len(view.with_status("resolved"))
    high = total >= LEAST_RECORDS and resolved >= HIGH_RATE * total
    return _factor("high_resolution_rate", 10 if high else 0, f"{resolved} of {total} issues resolved")


def _sla_resolution_breaches(view: _View) -> Factor | None:
    durations = [resolution_seconds(session) for session in view.recorded if session.episodes]
    count = sum(seconds is not None and seconds > RESOLUTION_HOURS * 3600 for seconds in durations)
    detail = f"{_count(count, 'issue')} took more than {RESOLUTION_HOURS:.0f} hours to resolve"
    return _factor("sla_resolution_breaches", -min(10 * count, 20), detail)


def _slow_first_response(view: _View) -> Factor | None:
    waits = [seconds for session in view.recent if (seconds := first_response_seconds(session)) is not None]
    if not waits or (mean := sum(waits) / len(waits)) <= SLOW_FIRST_RESPONSE:
        return None
    return _factor("slow_first_response", -5, f"First responses take {mean / 60:.0f} minutes on average")


def _factor(signal: str, impact: int, detail: str) -> Factor | None:
    return Factor(signal=signal, impact=impact, detail=detail) if impact else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


#: In the order in which the contract lists factors.
_RULES: Sequence[Callable[[_View], Factor | None]] = (
    _unresolved_issues,
    _repeated_issues,
    _escalations,
    _idle_open_issue,
    _recent_resolution,
    _high_resolution_rate,
    _sla_resolution_breaches,
    _slow_first_response,
)
