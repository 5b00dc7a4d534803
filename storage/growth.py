"""SQL of how a subject grew: episodes and memories by the day they were stored (UTC)."""

from __future__ import annotations

from datetime import date, datetime

from storage.transactions import Connection

_BY_DAY = """
select day, sum(episodes)::int, sum(memories)::int
  from (select created_at::date as day, 1 as episodes, 0 as memories from episodes
         where tenant_id = %(tenant)s and subject_id = %(subject)s and created_at between %(since)s and %(until)s
         union all
        select created_at::date, 0, 1 from memories
         where tenant_id = %(tenant)s and subject_id = %(subject)s and created_at between %(since)s and %(until)s
       ) stored
 group by day order by day
"""


def by_day(
    conn: Connection, tenant_id: str, subject_id: str, *, since: datetime, until: datetime
) -> list[tuple[date, int, int]]:
    """(day, episodes, memories) of every day on which anything was stored. Indexes: the subject's of both tables."""
    return conn.execute(
        _BY_DAY, {"tenant": tenant_id, "subject": subject_id, "since": since, "until": until}
    ).fetchall()
