"""SQL of `schedules` and `schedule_ticks`: what happens at regular times, and that each time it happens once."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

_DECLARE = """
insert into schedules (name, every_seconds, offset_seconds, catch_up, next_tick)
values (%(name)s, %(every)s, %(offset)s, %(catch_up)s, %(next)s)
on conflict (name) do update
   set every_seconds = excluded.every_seconds, offset_seconds = excluded.offset_seconds, catch_up = excluded.catch_up,
       next_tick = excluded.next_tick
 where (schedules.every_seconds, schedules.offset_seconds, schedules.catch_up)
       is distinct from (excluded.every_seconds, excluded.offset_seconds, excluded.catch_up)
"""

_LIST = """
select s.name, s.every_seconds, s.offset_seconds, s.catch_up, s.last_tick, s.next_tick,
       t.taken_at as last_taken_at, t.outcome as last_outcome, t.run_id as last_run_id, r.state as last_run_state
  from schedules s
  left join schedule_ticks t on t.schedule = s.name and t.tick = s.last_tick
  left join runs r on r.id = t.run_id
 order by s.name
"""


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule with its last and next tick."""

    name: str
    every_seconds: int
    offset_seconds: int
    catch_up: str
    last_tick: datetime | None
    next_tick: datetime
    last_taken_at: datetime | None
    last_outcome: str | None
    last_run_id: UUID | None
    last_run_state: str | None


def declare(
    conn: Connection, name: str, *, every: timedelta, offset: timedelta, catch_up: str, next_tick: datetime
) -> None:
    """Write a schedule down as the code has it; `next_tick` counts for one that is new or was changed."""
    conn.execute(
        _DECLARE,
        {
            "name": name,
            "every": int(every.total_seconds()),
            "offset": int(offset.total_seconds()),
            "catch_up": catch_up,
            "next": next_tick,
        },
    )


def due(conn: Connection, *, now: datetime) -> list[tuple[str, datetime]]:
    """Schedules whose next tick has come, with that tick."""
    return conn.execute("select name, next_tick from schedules where next_tick <= %s order by name", (now,)).fetchall()


def take_tick(
    conn: Connection, name: str, *, tick: datetime, outcome: str, next_tick: datetime, run_id: UUID | None
) -> bool:
    """Take a tick for this transaction. False when somebody has it already: then nothing may be done for it."""
    taken = conn.execute(
        "insert into schedule_ticks (schedule, tick, outcome, run_id) values (%s, %s, %s, %s)"
        " on conflict (schedule, tick) do nothing",
        (name, tick, outcome, run_id),
    )
    if taken.rowcount == 0:
        return False
    conn.execute(
        "update schedules set last_tick = %(tick)s, next_tick = %(next)s"
        " where name = %(name)s and (last_tick is null or last_tick < %(tick)s)",
        {"tick": tick, "next": next_tick, "name": name},
    )
    return True


def list_schedules(conn: Connection) -> list[ScheduleRow]:
    """All schedules by name."""
    with conn.cursor(row_factory=class_row(ScheduleRow)) as cursor:
        return cursor.execute(_LIST).fetchall()


def purge_ticks(conn: Connection, *, before: datetime) -> int:
    """Forget old ticks; the newest of each schedule is kept, so that none can fire twice."""
    return conn.execute(
        "delete from schedule_ticks t using schedules s"
        " where t.taken_at < %s and s.name = t.schedule and t.tick < s.last_tick",
        (before,),
    ).rowcount
