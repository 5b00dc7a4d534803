"""SQL of `usage_days`: what tenants use, added up per day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection


class Tally(NamedTuple):
    """What is counted: a meter of a tenant on a day (UTC)."""

    tenant_id: str
    day: date
    meter: str


#: Sorted, so that processes which write at the same time wait for each other rather than deadlock.
_ADD = """
insert into usage_days as u (tenant_id, day, meter, quantity)
select * from unnest(%s::text[], %s::date[], %s::text[], %s::bigint[]) as t (tenant_id, day, meter, quantity)
 order by 1, 2, 3
on conflict (tenant_id, day, meter) do update set quantity = u.quantity + excluded.quantity
"""

_LIMITS = """
select t.tenant_id, jsonb_build_object('version', tc.version, 'config', tc.config)::text as tenant_config,
       case when tc.config ? 'monthly_quotas' then (
           select jsonb_object_agg(m.meter, m.quantity)
             from (select meter, sum(quantity) as quantity from usage_days
                    where tenant_id = t.tenant_id and day >= %(month)s and day < %(next_month)s group by meter) m)
       end as used
  from unnest(%(tenants)s::text[]) as t (tenant_id)
  join tenant_configs tc on tc.tenant_id = t.tenant_id
"""

#: Of one tenant by the primary key; of all tenants everything is read, one row a tenant, day and meter.
_WINDOWS = """
select meter,
       coalesce(sum(quantity) filter (where day = %(today)s), 0)::bigint as today,
       coalesce(sum(quantity) filter (where day > %(today)s::date - 7), 0)::bigint as last_7_days,
       coalesce(sum(quantity) filter (where day > %(today)s::date - 30), 0)::bigint as last_30_days,
       coalesce(sum(quantity) filter (where day >= date_trunc('month', %(today)s::date)), 0)::bigint as month,
       sum(quantity)::bigint as total
  from usage_days
 where day <= %(today)s and (%(tenant)s::text is null or tenant_id = %(tenant)s)
 group by meter
"""

_SUBJECTS = """
select count(*) filter (where last_episode_at > %(now)s - interval '7 days') as last_7_days,
       count(*) filter (where last_episode_at > %(now)s - interval '30 days') as last_30_days,
       count(*) as total,
       coalesce(sum(episode_count), 0)::bigint as episodes,
       coalesce(sum(memory_count), 0)::bigint as memories
  from subjects
 where (%(tenant)s::text is null or tenant_id = %(tenant)s) and not subject_id ^@ any(%(hidden)s)
   and (episode_count > 0 or memory_count > 0)
"""


class LimitsRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's configuration in the form of `CONFIG_SQL`, and what it used in the month, if it has quotas."""

    tenant_id: str
    tenant_config: str
    used: dict[str, int] | None


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a meter was used: today (UTC), on 7 and 30 days up to today, since the month began, and ever."""

    meter: str
    today: int
    last_7_days: int
    last_30_days: int
    month: int
    total: int


class Subjects(msgspec.Struct, frozen=True, kw_only=True):
    """How many subjects there are, how many had an episode lately, and what is stored of them."""

    last_7_days: int
    last_30_days: int
    total: int
    episodes: int
    memories: int


def add(conn: Connection, tallies: Mapping[Tally, int]) -> None:
    """Add quantities to what is counted already."""
    tenants, days, meters = zip(*tallies, strict=True)
    conn.execute(_ADD, (list(tenants), list(days), list(meters), list(tallies.values())))


def load_limits(conn: Connection, tenants: Sequence[str], *, month: date, next_month: date) -> list[LimitsRow]:
    """Configurations and the month's use of the tenants that have one. Indexes: the primary keys."""
    with conn.cursor(row_factory=class_row(LimitsRow)) as cursor:
        return cursor.execute(_LIMITS, {"tenants": list(tenants), "month": month, "next_month": next_month}).fetchall()


def windows(conn: Connection, *, tenant_id: str | None, today: date) -> list[Windows]:
    """Every meter that counted anything, of one tenant or of all."""
    with conn.cursor(row_factory=class_row(Windows)) as cursor:
        return cursor.execute(_WINDOWS, {"tenant": tenant_id, "today": today}).fetchall()


def count_subjects(conn: Connection, *, tenant_id: str | None, hidden: Sequence[str], now: datetime) -> Subjects:
    """Subjects of one tenant or of all, without those whose ids begin like one of `hidden`."""
    with conn.cursor(row_factory=class_row(Subjects)) as cursor:
        counted = cursor.execute(_SUBJECTS, {"tenant": tenant_id, "hidden": list(hidden), "now": now}).fetchone()
    assert counted is not None
    return counted
