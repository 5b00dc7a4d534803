"""One session in full: its episodes, how its resolution changed, and where its service levels stand among them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from config.clock import utcnow
from pipelines.policy.evaluation import Caller
from pipelines.policy.in_force import viewing_as
from pipelines.policy.visibility import REDACTED
from pipelines.services import Services
from pipelines.support.facts import Session, load_facts
from pipelines.support.sla import FIRST_RESPONSE_MINUTES, RESOLUTION_HOURS, SessionLevel, session_level
from pipelines.support.visible_facts import visible_facts
from storage import lineage, resolutions
from storage.lineage import SessionEpisode
from storage.resolutions import ResolutionChange

Mark = Literal["first_message", "first_response", "first_response_breached", "resolved", "resolution_breached"]


class EpisodeEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event_type", tag="episode"):
    """Something that was said or done. `sla_marks` says which clocks it starts or stops."""

    id: UUID
    source: str
    type: str
    payload: msgspec.Raw
    metadata: msgspec.Raw
    provenance: msgspec.Raw
    occurred_at: datetime
    created_at: datetime
    citing_memory_count: int
    sla_marks: list[Mark]


class ResolutionEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event_type", tag="resolution"):
    """A state that the session's resolution took."""

    resolved_at: datetime | None
    status: str
    resolution_summary: str | None
    changed_at: datetime
    sla_marks: list[Mark]


class SessionTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """A session's figures and its events, oldest first. `episode_count` counts those beyond the limit too."""

    session_id: str
    status: str
    first_message_at: str | None
    first_response_at: str | None
    resolved_at: str | None
    first_response_seconds: float | None
    resolution_seconds: float | None
    first_response_breached: bool
    resolution_breached: bool
    episode_count: int
    events: list[EpisodeEvent | ResolutionEvent]


def session_timeline(
    services: Services,
    tenant_id: str,
    subject_id: str,
    session_id: str,
    *,
    limit: int = 200,
    viewer: Caller | None = None,
) -> SessionTimeline:
    """Everything that happened in a session, in the order in which it happened; empty for an unknown one.

    Args:
        viewer: For whom a policy holds: whoever looks with a tenant's key; None for operators.
    """
    with viewing_as(services, tenant_id, subject_id, viewer) as (conn, visibility):
        facts = visible_facts(load_facts(conn, tenant_id, subject_id).facts, visibility)
        episodes = lineage.session_episodes(
            conn, tenant_id, subject_id, session_id, limit=limit, selection=visibility.listed_episodes
        )
        changes = resolutions.changes(conn, tenant_id, subject_id, session_id)
        if not visibility.shows_session_text(session_id):
            changes = [
                msgspec.structs.replace(change, resolution_summary=change.resolution_summary and REDACTED)
                for change in changes
            ]
        cited = lineage.citation_counts(conn, tenant_id, subject_id, [episode.id for episode in episodes])
    session = next((s for s in facts.sessions if s.session_id == session_id), Session(session_id))
    level = session_level(
        session, now=utcnow(), first_response_minutes=FIRST_RESPONSE_MINUTES, resolution_hours=RESOLUTION_HOURS
    )
    events: list[tuple[datetime, EpisodeEvent | ResolutionEvent]] = [
        (episode.event_at, _episode_event(episode, cited.get(episode.id, 0), session, level)) for episode in episodes
    ]
    last = changes[-1].version if changes else 0
    events += [
        (change.resolved_at or change.changed_at, _resolution_event(change, level, is_last=change.version == last))
        for change in changes
    ]
    return SessionTimeline(
        session_id=session_id,
        status=level.status,
        first_message_at=level.first_message_at,
        first_response_at=level.first_response_at,
        resolved_at=level.resolved_at,
        first_response_seconds=level.first_response_seconds,
        resolution_seconds=level.resolution_seconds,
        first_response_breached=level.first_response_breached,
        resolution_breached=level.resolution_breached,
        episode_count=session.episodes,
        events=[event for _, event in sorted(events, key=lambda item: item[0])],
    )


def _episode_event(episode: SessionEpisode, cited: int, session: Session, level: SessionLevel) -> EpisodeEvent:
    marks: list[Mark] = []
    opens = episode.user_at if session.first_user_at is not None else episode.event_at
    if opens is not None and opens == (session.first_user_at or session.first_at):
        marks.append("first_message")
    if session.first_agent_at is not None and session.first_agent_at in (episode.agent_at or ()):
        marks.append("first_response_breached" if level.first_response_breached else "first_response")
    return EpisodeEvent(
        id=episode.id,
        source=episode.source,
        type=episode.type,
        payload=episode.payload,
        metadata=episode.metadata,
        provenance=episode.provenance,
        occurred_at=episode.occurred_at,
        created_at=episode.created_at,
        citing_memory_count=cited,
        sla_marks=marks,
    )


def _resolution_event(change: ResolutionChange, level: SessionLevel, *, is_last: bool) -> ResolutionEvent:
    marks: list[Mark] = []
    if is_last and level.resolution_seconds is not None:
        marks.append("resolution_breached" if level.resolution_breached else "resolved")
    return ResolutionEvent(
        resolved_at=change.resolved_at,
        status=change.status,
        resolution_summary=change.resolution_summary,
        changed_at=change.changed_at,
        sla_marks=marks,
    )
