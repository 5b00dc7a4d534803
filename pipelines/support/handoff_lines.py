"""The lines of a handoff brief in the contract's order of sections, and how useful each is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.support.attempts import Attempt
from pipelines.support.brief import Line
from pipelines.support.excerpts import excerpt
from pipelines.support.facts import Session
from pipelines.support.health import Health
from pipelines.support.sla import FIRST_RESPONSE_MINUTES, RESOLUTION_HOURS, ServiceTotals
from storage.handoffs import QuotableEpisode
from storage.rows import Memory

#: Resolved sessions that the notes name (contract: core §7.3).
MOST_RESOLVED = 3

#: Characters of a resolution's summary, and of a fact, in the notes: no line may crowd out the others.
SUMMARY_CHARS = 300
FACT_CHARS = 300

#: Share of the resolution target from which an open issue is close to missing it.
NEAR_BREACH = 0.75

_CIRCLES = {"healthy": "🟢", "watch": "🟡", "at_risk": "🔴"}

#: Usefulness of what a brief says, most useful first. Within a rank the earlier line stays longer.
_HEAD, _ISSUE, _HEALTH, _SAME_ISSUE, _STEP, _SLA, _CUSTOMER, _OPEN, _FACT, _RESOLVED, _CONTEXT = range(0, 110, 10)


@dataclass(frozen=True, slots=True)
class Content:
    """What a brief is written from."""

    subject_id: str
    session_id: str
    reason: str
    now: datetime
    customer_summary: str
    issue: str
    reported: QuotableEpisode | None
    steps: Sequence[Attempt]
    facts: Sequence[Memory]
    history: Sequence[Session]
    unresolved: Sequence[Session]
    related: frozenset[str]
    context: Sequence[tuple[str, QuotableEpisode]]
    health: Health
    totals: ServiceTotals
    longest_open_seconds: float | None
    session: Session | None


def lines_of(content: Content) -> list[Line]:
    """Every line that could be in the brief, in the order of the brief."""
    return [
        *_head(content),
        *_customer(content),
        *_health(content),
        *_service_levels(content),
        *_issue(content),
        *_steps(content),
        *_open_issues(content),
        *_resolved(content),
        *_facts(content),
        *_context(content),
    ]


def _head(content: Content) -> Iterator[Line]:
    request = {"computed_from": "request"}
    yield Line("", f"# Handoff Brief — {content.subject_id}", _HEAD, request)
    yield Line("", f"Reason: {content.reason}", _HEAD, request)
    yield Line("", f"Session: {content.session_id}", _HEAD, request)


def _customer(content: Content) -> Iterator[Line]:
    told = [str(fact.id) for fact in content.facts[:3]]
    yield Line(
        "## Customer",
        content.customer_summary,
        _CUSTOMER,
        {"fact_ids": told} if told else {"computed_from": "request"},
    )


def _health(content: Content) -> Iterator[Line]:
    health = content.health
    reasons = "; ".join(factor.detail for factor in health.factors)
    text = f"{_CIRCLES[health.state]} {health.state.upper()} ({health.score}/100)"
    yield Line("## Customer Health", f"{text}: {reasons}" if reasons else text, _HEALTH, {"computed_from": "health"})


def _service_levels(content: Content) -> Iterator[Line]:
    for text in (*_this_session(content), *_all_sessions(content)):
        yield Line("## SLA Status", f"- {text}", _SLA, {"computed_from": "sla"})


def _this_session(content: Content) -> Iterator[str]:
    """The session's own clock, if it is still running."""
    session = content.session
    if session is None or session.first_user_at is None or session.status == "resolved":
        return
    hours = max(0.0, (content.now - session.first_user_at).total_seconds() / 3600)
    if session.first_agent_at is None and hours * 60 > FIRST_RESPONSE_MINUTES:
        yield f"This session: no answer yet after {_span(hours)}"
    if hours > RESOLUTION_HOURS:
        yield f"This session: open for {_span(hours)}, {_span(hours - RESOLUTION_HOURS)} over the resolution target"
    elif hours >= NEAR_BREACH * RESOLUTION_HOURS:
        yield f"This session: {_span(RESOLUTION_HOURS - hours)} left of the {RESOLUTION_HOURS:.0f} h resolution target"


def _all_sessions(content: Content) -> Iterator[str]:
    totals = content.totals
    if totals.first_response_breach_count:
        yield f"First-response breaches: {totals.first_response_breach_count}"
    if totals.resolution_breach_count:
        yield f"Resolution breaches: {totals.resolution_breach_count}"
    if content.longest_open_seconds is not None:
        yield f"Longest open issue: {content.longest_open_seconds / 3600:.1f} hours"
    if totals.avg_first_response_seconds is not None:
        yield f"Average first response: {totals.avg_first_response_seconds / 60:.1f} minutes"


def _issue(content: Content) -> Iterator[Line]:
    if content.reported is not None:
        yield Line("## Active Issue", content.issue, _ISSUE, {"episode_ids": [str(content.reported.id)]})


def _steps(content: Content) -> Iterator[Line]:
    for age, step in enumerate(content.steps):
        rank = _STEP + len(content.steps) - 1 - age
        yield Line("## What Has Been Tried", f"- {step.text}", rank, {"episode_ids": [str(step.episode_id)]})


def _open_issues(content: Content) -> Iterator[Line]:
    for session in content.unresolved:
        yield Line("## Open Issues", _ended(session, "no summary"), _OPEN, _of(session))


def _resolved(content: Content) -> Iterator[Line]:
    resolved = [session for session in content.history if session.status == "resolved"]
    for session in resolved[:MOST_RESOLVED]:
        same = session.session_id in content.related
        text = _ended(session, "resolved without a summary") + (" (the same issue)" if same else "")
        yield Line("## Previously Resolved", text, _SAME_ISSUE if same else _RESOLVED, _of(session))


def _facts(content: Content) -> Iterator[Line]:
    for age, fact in enumerate(content.facts):
        yield Line("## Key Facts", f"- {excerpt(fact.content, FACT_CHARS)}", _FACT + age, {"fact_ids": [str(fact.id)]})


def _context(content: Content) -> Iterator[Line]:
    for age, (text, episode) in enumerate(content.context):
        yield Line(
            "## Recent Context (other sessions)", f"- {text}", _CONTEXT + age, {"episode_ids": [str(episode.id)]}
        )


def _ended(session: Session, otherwise: str) -> str:
    return f"- [{session.session_id}] {excerpt(session.summary or otherwise, SUMMARY_CHARS)}"


def _of(session: Session) -> dict[str, Any]:
    return {"resolution_ids": [str(session.resolution_id)]}


def _span(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"
