"""SQL of what a handoff quotes: the session that is handed over, and what happened outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg.rows import class_row

from storage.episodes import EpisodeWithBody
from storage.selection import ALL, IdFilter
from storage.transactions import Connection

#: Types of episodes that say outright that something was tried (contract: core §7.3).
ACTION_TYPES = ("action", "tool_call", "resolution_attempt")

_QUOTABLE = """
with wanted as (
    (select id from episodes
      where tenant_id = %(tenant)s and subject_id = %(subject)s {selection} and session_id = %(session)s
      order by signals & 1 = 0, coalesce(user_at, event_at, occurred_at), seq limit %(first)s)
    union
    (select id from episodes
      where tenant_id = %(tenant)s and subject_id = %(subject)s {selection} and session_id = %(session)s
      order by coalesce(event_at, occurred_at) desc, seq desc limit %(newest)s)
    union
    (select id from episodes
      where tenant_id = %(tenant)s and subject_id = %(subject)s {selection} and session_id = %(session)s
        and type = any(%(actions)s)
      order by coalesce(event_at, occurred_at) desc, seq desc limit %(newest)s)
    union
    (select id from episodes
      where tenant_id = %(tenant)s and subject_id = %(subject)s {selection} and session_id is distinct from %(session)s
      order by occurred_at desc, created_at desc, id desc limit %(others)s)
)
select e.id, e.subject_id, e.session_id, e.source, e.type, e.payload, e.metadata, e.provenance, e.occurred_at,
       e.created_at, e.body, coalesce(e.event_at, e.occurred_at) as event_at,
       case when e.signals & 1 <> 0 then coalesce(e.user_at, e.event_at, e.occurred_at) end as user_at
  from wanted join episodes e using (id)
 order by coalesce(e.event_at, e.occurred_at), e.seq
"""


class QuotableEpisode(EpisodeWithBody, frozen=True, kw_only=True):
    """An episode with its text, when it happened, and when the customer first speaks in it."""

    event_at: datetime
    user_at: datetime | None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many episodes are read: of the session the first and the newest, and the newest of all others."""

    first: int
    newest: int
    others: int


def quotable_episodes(
    conn: Connection, tenant_id: str, subject_id: str, session_id: str, *, limits: Limits, selection: IdFilter = ALL
) -> Sequence[QuotableEpisode]:
    """What a handoff may quote, in one statement, oldest first. Indexes: episodes_session, episodes_timeline."""
    with conn.cursor(row_factory=class_row(QuotableEpisode)) as cursor:
        return cursor.execute(
            _QUOTABLE.format(selection=selection.condition("id", "quotable")),
            {
                **selection.parameters("quotable"),
                "tenant": tenant_id,
                "subject": subject_id,
                "session": session_id,
                "actions": list(ACTION_TYPES),
                **msgspec.structs.asdict(limits),
            },
        ).fetchall()
