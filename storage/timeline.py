"""SQL of the timeline: episodes and memories of a subject, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from storage.memories import COLUMNS, VISIBLE
from storage.rows import Episode, Memory
from storage.selection import ALL, IdFilter
from storage.transactions import Connection

_EPISODES = """
select id, subject_id, session_id, source, type, payload, metadata, provenance, occurred_at, created_at
  from episodes
 where tenant_id = %(tenant)s and subject_id = %(subject)s
   and (%(since)s::timestamptz is null or occurred_at >= %(since)s)
   and (%(until)s::timestamptz is null or occurred_at <= %(until)s) {selection}
 order by occurred_at {direction}, created_at {direction}, id {direction}
 limit %(limit)s offset %(offset)s
"""

_MEMORIES = """
select {columns}
  from memories
 where tenant_id = %(tenant)s and subject_id = %(subject)s {visible}
   and (%(kinds)s::text[] is null or kind = any(%(kinds)s))
   and (%(since)s::timestamptz is null or created_at >= %(since)s)
   and (%(until)s::timestamptz is null or created_at <= %(until)s) {selection}
 order by created_at {direction}, id {direction}
 limit %(limit)s offset %(offset)s
"""


def page(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    limit: int,
    offset: int,
    newest_first: bool,
    active_only: bool,
    since: datetime | None,
    until: datetime | None,
    kinds: Sequence[str] | None,
    listed_episodes: IdFilter = ALL,
    listed_memories: IdFilter = ALL,
) -> tuple[list[Episode], list[Memory]]:
    """Up to `limit` + 1 episodes and as many memories: the one too many says that there are more.

    `newest_first` takes the page from the newest end. Indexes: episodes_timeline, memories_timeline.
    """
    direction = "desc" if newest_first else "asc"
    parameters: dict[str, Any] = {
        "tenant": tenant_id,
        "subject": subject_id,
        "limit": limit + 1,
        "offset": offset,
        "since": since,
        "until": until,
        "kinds": list(kinds) if kinds is not None else None,
        **listed_episodes.parameters("episodes"),
        **listed_memories.parameters("memories"),
    }
    statement = _EPISODES.format(direction=direction, selection=listed_episodes.condition("id", "episodes"))
    with conn.cursor(row_factory=class_row(Episode)) as cursor:
        episodes = cursor.execute(statement, parameters).fetchall()
    visible = f"and {VISIBLE}" if active_only else ""
    statement = _MEMORIES.format(
        columns=COLUMNS,
        visible=visible,
        direction=direction,
        selection=listed_memories.condition("id", "memories"),
    )
    with conn.cursor(row_factory=class_row(Memory)) as cursor:
        memories = cursor.execute(statement, parameters).fetchall()
    return episodes, memories
