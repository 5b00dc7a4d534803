"""Handing a session over (contract: core §7.3): what a colleague must know to go on at once.

Everything in the brief is quoted or counted from what is stored; each line says from where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from config.clock import utcnow
from pipelines.history import PRESENT, World
from pipelines.policy.in_force import PolicyInForce, reading_on
from pipelines.policy.visibility import REDACTED
from pipelines.policy_decisions import PolicyDecisions
from pipelines.services import Services
from pipelines.support import handoff_lines
from pipelines.support.attempts import attempts, first_words
from pipelines.support.brief import keep_within, render
from pipelines.support.excerpts import excerpt, one_line
from pipelines.support.facts import Session, SubjectFacts
from pipelines.support.handoff_lines import Content
from pipelines.support.health import Factor, Health, assess
from pipelines.support.health_alerts import settle_health
from pipelines.support.health_webhooks import tell_webhooks
from pipelines.support.repeat_issues import SAME_ISSUE, keywords
from pipelines.support.sla import open_seconds, service_totals
from pipelines.support.visible_facts import visible_facts
from pipelines.tokens import count_tokens
from storage import memories as memory_rows
from storage.handoffs import Limits, QuotableEpisode, quotable_episodes
from storage.history import Watermark
from storage.rows import Memory

#: Limits of the contract (core §7.3).
FACTS_READ, FACTS_TOLD, FACTS_SUMMED_UP = 20, 8, 3
RESOLUTIONS_TOLD = 20
FACTORS_TOLD = 3
ISSUE_CHARS, CONTEXT_CHARS = 200, 120
MOST_CONTEXT = 5
MOST_EPISODE_IDS = 10

#: Lines of one other session in the recent context: one talkative session must not hide the others.
CONTEXT_PER_SESSION = 2

LIMITS = Limits(first=10, newest=40, others=50)


class PriorResolution(msgspec.Struct, frozen=True, kw_only=True):
    """How another session ended."""

    session_id: str
    status: str
    summary: str | None
    resolved_at: datetime | None


class Handoff(msgspec.Struct, frozen=True, kw_only=True):
    """The brief and its parts, with the field names of the wire."""

    subject_id: str
    session_id: str
    reason: str
    generated_at: datetime
    customer_summary: str
    active_issue: str
    attempted_steps: list[str]
    key_facts: list[str]
    resolution_history: list[PriorResolution]
    recent_context: list[str]
    health_score: int
    health_state: str
    health_factors: list[Factor]
    handoff_notes: str
    token_estimate: int
    provenance: dict[str, Any]
    receipt_id: str | None = None
    receipt_emitted: bool = False


class HandoffRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `max_tokens` bounds the notes."""

    subject_id: str
    session_id: str
    reason: str = "escalation"
    max_tokens: int = 4000
    caller_id: str | None = None
    caller_type: str | None = None


@dataclass(frozen=True, slots=True)
class Briefing:
    """A handoff, and what a receipt says of how it came about."""

    handoff: Handoff
    #: The facts and the episodes that it quotes.
    facts: Sequence[Memory]
    episodes: Sequence[QuotableEpisode]
    tenant_config: str | None
    #: How much of the subject was seen; None where nothing is stored of it.
    watermark: Watermark | None
    #: What the policy decided.
    decisions: PolicyDecisions


def hand_over(
    services: Services,
    tenant_id: str,
    *,
    subject_id: str,
    session_id: str,
    reason: str = "escalation",
    max_tokens: int = 4000,
    now: datetime | None = None,
) -> Handoff:
    """Write the brief of a session. Its notes never exceed `max_tokens`; an unknown subject gets a short one.

    What the policy hides from the caller is neither quoted nor counted; health and service levels are figures of the
    whole subject.

    Args:
        now: The clock that ages and deadlines count from.

    Raises:
        Unauthenticated: when the tenant wants to know who asks, and the request does not say.
    """
    request = HandoffRequest(subject_id=subject_id, session_id=session_id, reason=reason, max_tokens=max_tokens)
    return brief(services, tenant_id, request, now=now).handoff


def brief(
    services: Services,
    tenant_id: str,
    request: HandoffRequest,
    *,
    now: datetime | None = None,
    world: World = PRESENT,
    policy: PolicyInForce | None = None,
) -> Briefing:
    """As `hand_over`, with what a receipt says of it.

    Args:
        world: The subject as it is, or as somebody saw it. Only the health of the present is written down.
        policy: The policy to answer under; None for the one in force.
    """
    now = now or utcnow()
    subject_id, session_id = request.subject_id, request.session_id
    with world.open(services, tenant_id, subject_id) as (conn, state):
        reader = reading_on(
            conn, state, tenant_id, request.caller_id, request.caller_type, kept=services.judgements, policy=policy
        )
        judgement = reader.judgement(subject_id)
        visibility = reader.acted_upon(judgement)
        snapshot = world.facts(conn, tenant_id, subject_id)
        facts = memory_rows.newest_memories(
            conn,
            tenant_id,
            subject_id,
            kind="profile_fact",
            limit=FACTS_READ,
            now=now,
            selection=visibility.listed_memories,
        )
        episodes = quotable_episodes(
            conn, tenant_id, subject_id, session_id, limits=LIMITS, selection=visibility.listed_episodes
        )
    health = assess(snapshot.facts, now=now)
    if world is PRESENT:
        tell = tell_webhooks(services.settings)
        settle_health(services.pool, tenant_id, subject_id, health, snapshot, now=now, tell=tell)
    facts = [visibility.shown(fact) for fact in facts]
    known = visible_facts(snapshot.facts, visibility)
    content = _content(subject_id, session_id, request.reason, now, health, known, facts, episodes)
    notes, origins = render(keep_within(handoff_lines.lines_of(content), budget=request.max_tokens))
    handoff = Handoff(
        subject_id=subject_id,
        session_id=session_id,
        reason=request.reason,
        generated_at=now,
        customer_summary=content.customer_summary,
        active_issue=content.issue,
        attempted_steps=[step.text for step in content.steps],
        key_facts=[fact.content for fact in content.facts],
        resolution_history=[_prior(session) for session in content.history],
        recent_context=[text for text, _ in content.context],
        health_score=health.score,
        health_state=health.state,
        health_factors=health.factors[:FACTORS_TOLD],
        handoff_notes=notes,
        token_estimate=count_tokens(notes),
        provenance=_provenance(content, origins),
    )
    quoted = {*handoff.provenance["episode_ids"], *handoff.provenance["context_episode_ids"]}
    return Briefing(
        handoff,
        facts=content.facts,
        episodes=[episode for episode in episodes if str(episode.id) in quoted],
        tenant_config=state.config_text,
        watermark=snapshot.watermark,
        decisions=reader.decisions(judgement, None),
    )


def _content(
    subject_id: str,
    session_id: str,
    reason: str,
    now: datetime,
    health: Health,
    known: SubjectFacts,
    facts: list[Memory],
    episodes: Sequence[QuotableEpisode],
) -> Content:
    own = [episode for episode in episodes if episode.session_id == session_id]
    others = [episode for episode in episodes if episode.session_id != session_id]
    session = next((s for s in known.sessions if s.session_id == session_id), None)
    reported = min(
        own, key=lambda episode: (episode.user_at is None, episode.user_at or episode.event_at), default=None
    )
    issue = _issue(reported, further=(session.episodes if session else len(own)) - 1) if reported else ""
    _, recorded = known.windowed()
    related = _related(own, recorded, known, session_id)
    return Content(
        subject_id=subject_id,
        session_id=session_id,
        reason=one_line(reason),
        now=now,
        customer_summary=_customer_summary(subject_id, facts),
        issue=issue,
        reported=reported,
        steps=attempts(own),
        facts=facts[:FACTS_TOLD],
        history=sorted(recorded, key=lambda s: s.session_id not in related)[:RESOLUTIONS_TOLD],
        unresolved=[s for s in recorded if s.status != "resolved"],
        related=related,
        context=_context(others),
        health=health,
        totals=service_totals(known, subject_id=subject_id),
        longest_open_seconds=max(_open_for(known, now), default=None),
        session=session,
    )


def _open_for(known: SubjectFacts, now: datetime) -> list[float]:
    ages = [open_seconds(session, now=now) for session in known.sessions if session.episodes]
    return [age for age in ages if age is not None]


def _customer_summary(subject_id: str, facts: list[Memory]) -> str:
    told = [one_line(fact.content) for fact in facts if fact.content != REDACTED][:FACTS_SUMMED_UP]
    return f"{subject_id} — {'; '.join(told)}" if told else f"Subject: {subject_id}"


def _issue(reported: QuotableEpisode, *, further: int) -> str:
    more = f" (+{further} more message{'' if further == 1 else 's'})" if further > 0 else ""
    return f"{_label(reported)} {excerpt(first_words(reported), ISSUE_CHARS)}{more}".strip()


def _context(others: list[QuotableEpisode]) -> list[tuple[str, QuotableEpisode]]:
    """The newest words of other sessions, newest first."""
    told: list[tuple[str, QuotableEpisode]] = []
    of_session: dict[str | None, int] = {}
    for episode in reversed(others):
        words = excerpt(first_words(episode), CONTEXT_CHARS)
        if not words or of_session.get(episode.session_id, 0) >= CONTEXT_PER_SESSION:
            continue
        of_session[episode.session_id] = of_session.get(episode.session_id, 0) + 1
        told.append((f"{_label(episode)} [{episode.session_id or 'no session'}] {words}", episode))
        if len(told) == MOST_CONTEXT:
            break
    return told


def _related(
    own: list[QuotableEpisode], recorded: list[Session], known: SubjectFacts, session_id: str
) -> frozenset[str]:
    """Sessions that resolved what this one is about, by their words or by the summary of their resolution."""
    by_words = {repeat.earlier_session_id for repeat in known.repeats if repeat.session_id == session_id}
    asked = keywords("\n".join(episode.body for episode in own))
    for session in recorded:
        summary = keywords(session.summary or "") if session.status == "resolved" else frozenset()
        if summary and asked and len(summary & asked) >= SAME_ISSUE * min(len(summary), len(asked)):
            by_words.add(session.session_id)
    return frozenset(by_words - {session_id})


def _prior(session: Session) -> PriorResolution:
    return PriorResolution(
        session_id=session.session_id,
        status=session.status or "unknown",
        summary=session.summary,
        resolved_at=session.resolved_at,
    )


def _provenance(content: Content, origins: list[dict[str, Any]]) -> dict[str, Any]:
    quoted = [step.episode_id for step in content.steps]
    if content.reported is not None:
        quoted.insert(0, content.reported.id)
    return {
        "fact_ids": [str(fact.id) for fact in content.facts],
        "episode_ids": [str(id) for id in dict.fromkeys(quoted)][:MOST_EPISODE_IDS],
        "resolution_ids": [str(session.resolution_id) for session in content.history],
        "context_episode_ids": [str(episode.id) for _, episode in content.context],
        "lines": origins,
    }


def _label(episode: QuotableEpisode) -> str:
    return f"[{episode.source}/{episode.type}]"
