"""What is known of a subject's sessions, from which health, service levels and handoffs are worked out.

Nothing here depends on the clock or on the order of ingestion, so the facts hold until an episode or a resolution is
added, and are kept for as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from pipelines.support.repeat_issues import Repeat, find_repeats
from storage import support_facts
from storage.health_states import HealthState
from storage.history import Watermark
from storage.support_facts import Kept, SessionRow
from storage.transactions import Connection

#: Newest resolutions that health looks at (contract: core §7.1).
WINDOW_RESOLUTIONS = 200


class Session(msgspec.Struct, frozen=True, array_like=True):
    """One session: its times, and how it ended if that was recorded. Without episodes it has no times."""

    session_id: str
    episodes: int = 0
    first_at: datetime | None = None
    newest_at: datetime | None = None
    first_user_at: datetime | None = None
    first_agent_at: datetime | None = None
    """The other side's first word at or after the customer's; their first word of all where no customer spoke."""
    resolution_id: UUID | None = None
    status: str | None = None
    resolved_at: datetime | None = None
    summary: str | None = None
    updated_at: datetime | None = None


class SubjectFacts(msgspec.Struct, frozen=True, array_like=True):
    """All sessions of a subject by their first moment, and what the newest episodes say."""

    sessions: list[Session] = []
    window_since: datetime | None = None
    """When the oldest of the newest 200 episodes happened."""
    escalations: int = 0
    """Of those, how many speak of an emergency."""
    repeats: list[Repeat] = []
    """Open sessions about what an earlier one had resolved."""

    def windowed(self) -> tuple[list[Session], list[Session]]:
        """The two windows of the health score: sessions with a recent episode, and the newest resolutions."""
        recent = [s for s in self.sessions if s.newest_at and self.window_since and s.newest_at >= self.window_since]
        recorded = [s for s in self.sessions if s.status is not None]
        recorded.sort(key=lambda s: (s.updated_at or datetime.min, s.session_id), reverse=True)
        return recent, recorded[:WINDOW_RESOLUTIONS]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A subject's facts, with the health that was last worked out of it (None: never)."""

    facts: SubjectFacts
    health: HealthState | None
    exists: bool
    watermark: Watermark | None = field(default=None, compare=False)
    #: The tenant's document as `pipelines.tenant_config.parse` reads it; None also where there is no subject.
    tenant_config: str | None = field(default=None, compare=False)
    #: What was seen, where the facts have been worked out anew and not been kept yet.
    to_keep: Kept | None = field(default=None, compare=False)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SubjectFacts).decode


def load_facts(conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
    """The subject's facts: one statement while they hold; two more work them out anew and keep them."""
    snapshot = read_facts(conn, tenant_id, subject_id)
    keep_facts(conn, tenant_id, subject_id, snapshot)
    return snapshot


def read_facts(conn: Connection, tenant_id: str, subject_id: str) -> Snapshot:
    """As `load_facts`, without writing anything."""
    seen = support_facts.kept(conn, tenant_id, subject_id)
    if seen is None:
        return Snapshot(SubjectFacts(), None, exists=False)
    facts, to_keep = _decoded(seen.facts), None
    if facts is None:
        facts, to_keep = facts_of(support_facts.sessions(conn, tenant_id, subject_id)), seen
    return Snapshot(
        facts,
        seen.health,
        exists=True,
        watermark=seen.watermark,
        tenant_config=seen.tenant_config,
        to_keep=to_keep,
    )


def keep_facts(conn: Connection, tenant_id: str, subject_id: str, snapshot: Snapshot) -> None:
    """Keep facts that were worked out anew."""
    if snapshot.to_keep is not None:
        support_facts.keep(conn, tenant_id, subject_id, snapshot.to_keep, _encode(snapshot.facts))


def _decoded(kept: bytes | None) -> SubjectFacts | None:
    try:
        return _decode(kept) if kept is not None else None
    except msgspec.ValidationError:
        # Kept by a version of the server that saw other facts.
        return None


def facts_of(rows: Sequence[SessionRow]) -> SubjectFacts:
    """Facts from what the database says of each session."""
    named = [row for row in rows if row.session_id is not None]
    sessions = [
        msgspec.convert(
            [getattr(row, name) for name in Session.__struct_fields__],
            Session,
            builtin_types=(datetime, UUID),
        )
        for row in named
    ]
    words = [(row.session_id or "", row.status or "", row.words) for row in named if row.words]
    return SubjectFacts(
        sessions=sessions,
        window_since=rows[0].since if rows else None,
        escalations=rows[0].escalations if rows else 0,
        repeats=find_repeats(
            open_texts={id: text for id, status, text in words if status == "open"},
            resolved_texts={id: text for id, status, text in words if status == "resolved"},
        ),
    )
