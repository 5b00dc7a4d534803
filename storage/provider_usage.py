"""SQL of `provider_calls` and its sums: what calls to model providers cost, per run, subject, tenant, model and day."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.tenant_configs import CONFIG_SQL
from storage.transactions import Connection

Kind = Literal["completion", "embedding", "rerank"]
GroupBy = Literal["model", "tenant", "subject", "day", "run"]

#: Rows among which the sums of a tenant, day and model are spread, so that calls that end together do not queue.
SLOTS = 8

#: What a successful call has as its outcome; all others count as failed.
OK = "ok"

#: All three tables in one statement: the call, the sums of its tenant, and those of its subject.
_RECORD = """
with incoming as (
    select *, (at at time zone 'UTC')::date as day
      from unnest(%(ids)s::uuid[], %(tenants)s::text[], %(subjects)s::text[], %(runs)s::uuid[], %(kinds)s::text[],
                  %(providers)s::text[], %(models)s::text[], %(inputs)s::bigint[], %(outputs)s::bigint[],
                  %(costs)s::numeric[], %(latencies)s::integer[], %(outcomes)s::text[], %(times)s::timestamptz[])
        as t (id, tenant_id, subject_id, run_id, kind, provider, model, input_tokens, output_tokens, cost_usd,
              latency_ms, outcome, at)
), kept as (
    insert into provider_calls (id, tenant_id, subject_id, run_id, kind, provider, model, input_tokens, output_tokens,
                                cost_usd, latency_ms, outcome, at)
    select id, tenant_id, subject_id, run_id, kind, provider, model, input_tokens, output_tokens, cost_usd, latency_ms,
           outcome, at
      from incoming
), of_subjects as (
    insert into provider_usage_subjects as u (tenant_id, subject_id, day, kind, provider, model, calls, failed_calls,
                                              unpriced_calls, input_tokens, output_tokens, cost_usd, latency_ms)
    select tenant_id, subject_id, day, kind, provider, model, {sums}
      from incoming
     where subject_id is not null
     group by tenant_id, subject_id, day, kind, provider, model
     order by tenant_id, subject_id, day, kind, provider, model
    on conflict (tenant_id, subject_id, day, kind, provider, model) do update set {added}
)
insert into provider_usage as u (tenant_id, day, kind, provider, model, slot, calls, failed_calls, unpriced_calls,
                                 input_tokens, output_tokens, cost_usd, latency_ms)
select tenant_id, day, kind, provider, model, %(slot)s, {sums}
  from incoming
 group by tenant_id, day, kind, provider, model
 order by tenant_id, day, kind, provider, model
on conflict (tenant_id, day, kind, provider, model, slot) do update set {added}
"""

_SUMS = """
    count(*), count(*) filter (where outcome <> %(ok)s),
    count(*) filter (where cost_usd is null and (outcome = %(ok)s or input_tokens + output_tokens > 0)),
    sum(input_tokens), sum(output_tokens), coalesce(sum(cost_usd), 0), sum(latency_ms)
"""

_ADDED = """
    calls = u.calls + excluded.calls,
    failed_calls = u.failed_calls + excluded.failed_calls,
    unpriced_calls = u.unpriced_calls + excluded.unpriced_calls,
    input_tokens = u.input_tokens + excluded.input_tokens,
    output_tokens = u.output_tokens + excluded.output_tokens,
    cost_usd = u.cost_usd + excluded.cost_usd,
    latency_ms = u.latency_ms + excluded.latency_ms
"""

_RECORD_ALL: LiteralString = _RECORD.format(sums=_SUMS, added=_ADDED)

_SUMMED = """
select {key} as key, coalesce(sum(calls), 0)::bigint as calls, coalesce(sum(failed_calls), 0)::bigint as failed_calls,
       coalesce(sum(unpriced_calls), 0)::bigint as unpriced_calls,
       coalesce(sum(input_tokens), 0)::bigint as input_tokens,
       coalesce(sum(output_tokens), 0)::bigint as output_tokens, coalesce(sum(cost_usd), 0) as cost_usd,
       coalesce(sum(latency_ms), 0)::bigint as latency_ms
  from {table}
 where day between %(first)s and %(last)s and (%(tenant)s::text is null or tenant_id = %(tenant)s)
"""

_OF_RUNS = """(
    select tenant_id, run_id, (at at time zone 'UTC')::date as day, 1 as calls, (outcome <> 'ok')::int as failed_calls,
           (cost_usd is null and (outcome = 'ok' or input_tokens + output_tokens > 0))::int as unpriced_calls,
           input_tokens, output_tokens, cost_usd, latency_ms
      from provider_calls
     where run_id is not null and at >= %(first)s::date at time zone 'UTC'
       and at < (%(last)s::date + 1) at time zone 'UTC'
) as of_runs"""

#: What sums are read from, and what they are grouped by. Without a tenant the tables are read by day
#: (`provider_usage_day`, `provider_usage_subjects_day`, `provider_calls_at`), else by their primary keys.
_SOURCES: dict[str, tuple[LiteralString, LiteralString, LiteralString]] = {
    "model": ("provider_usage", "model", "cost_usd desc, calls desc, key"),
    "tenant": ("provider_usage", "tenant_id", "cost_usd desc, calls desc, key"),
    "day": ("provider_usage", "day::text", "key desc"),
    "subject": ("provider_usage_subjects", "subject_id", "cost_usd desc, calls desc, key"),
    "run": (_OF_RUNS, "run_id::text", "cost_usd desc, calls desc, key"),
}


_SPENT = f"""
select coalesce(sum(cost_usd), 0) as usd, coalesce(sum(input_tokens + output_tokens), 0)::bigint as tokens,
       {CONFIG_SQL} as tenant_config
  from provider_usage where tenant_id = %(tenant)s and day = %(day)s
"""


class ProviderCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a model provider. `cost_usd` is None if the price is unknown; `outcome` is `ok` or what failed."""

    id: UUID
    tenant_id: str
    subject_id: str | None
    run_id: UUID | None
    kind: Kind
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    latency_ms: int
    outcome: str
    at: datetime


class ProviderSums(msgspec.Struct, frozen=True, kw_only=True):
    """What calls came to. `key` says of what: a model, tenant, subject, run or day; empty for the sum of all.

    `unpriced_calls` are missing in `cost_usd`. `latency_ms` is the sum over all calls.
    """

    key: str
    calls: int
    failed_calls: int
    unpriced_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    latency_ms: int


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant spent on a day, over all models, with its configuration as `CONFIG_SQL` gives it."""

    usd: Decimal
    tokens: int
    tenant_config: str | None = None


def record_calls(conn: Connection, calls: Sequence[ProviderCall]) -> None:
    """Keep the calls and add them to the sums."""
    conn.execute(
        _RECORD_ALL,
        {
            "ids": [call.id for call in calls],
            "tenants": [call.tenant_id for call in calls],
            "subjects": [call.subject_id for call in calls],
            "runs": [call.run_id for call in calls],
            "kinds": [call.kind for call in calls],
            "providers": [call.provider for call in calls],
            "models": [call.model for call in calls],
            "inputs": [call.input_tokens for call in calls],
            "outputs": [call.output_tokens for call in calls],
            "costs": [call.cost_usd for call in calls],
            "latencies": [call.latency_ms for call in calls],
            "outcomes": [call.outcome for call in calls],
            "times": [call.at for call in calls],
            "slot": random.randrange(SLOTS),
            "ok": OK,
        },
    )


def spent_on(conn: Connection, tenant_id: str, day: date) -> Spent:
    """What the tenant spent on the day (UTC). Index: the primary key."""
    with conn.cursor(row_factory=class_row(Spent)) as cursor:
        spent = cursor.execute(_SPENT, {"tenant": tenant_id, "day": day}).fetchone()
    assert spent is not None
    return spent


def total(conn: Connection, *, tenant_id: str | None, first: date, last: date) -> ProviderSums:
    """The sum over all calls of the days, of one tenant or of all."""
    query = _SUMMED.format(table="provider_usage", key="''")
    with conn.cursor(row_factory=class_row(ProviderSums)) as cursor:
        summed = cursor.execute(query, {"tenant": tenant_id, "first": first, "last": last}).fetchone()
    assert summed is not None
    return summed


def grouped(
    conn: Connection, group_by: GroupBy, *, tenant_id: str | None, first: date, last: date, limit: int
) -> list[ProviderSums]:
    """Sums per group, the dearest first, days newest first; at most `limit`.

    Calls that belong to no subject or to no run are in no group of these. Runs are found as long as their calls are
    kept.
    """
    table, key, order = _SOURCES[group_by]
    query = _SUMMED.format(table=table, key=key) + f" group by 1 order by {order} limit %(limit)s"
    with conn.cursor(row_factory=class_row(ProviderSums)) as cursor:
        return cursor.execute(query, {"tenant": tenant_id, "first": first, "last": last, "limit": limit}).fetchall()


def purge_calls(conn: Connection, *, before: datetime, limit: int) -> int:
    """Delete single calls that are older; their sums stay. Index: `provider_calls_at`.

    Returns:
        How many were deleted.
    """
    return conn.execute(
        "delete from provider_calls where id = any(array(select id from provider_calls where at < %s limit %s))",
        (before, limit),
    ).rowcount
