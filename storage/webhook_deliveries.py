"""SQL of `webhook_deliveries` and `webhook_subjects`: what is sent where, written by the transaction that caused it.

A delivery and its run share their id. The run carries state, attempts, lease and history (`storage.runs`); deleting it
deletes the delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Json

from config.ids import uuid7
from config.tracing import current_traceparent
from storage.rows import Run
from storage.run_dispatch import CHANNEL
from storage.transactions import Connection

KIND = "webhook"
QUEUE = "webhooks"
STAGE = "deliver"

#: The endpoint of `STATEWAVE_WEBHOOK_URL`, which has no row.
GLOBAL_ENDPOINT = UUID(int=0)

_RECORD = """
with listening as (
    select %(global)s::uuid as endpoint_id where %(global_listens)s
    union all
    select id from webhook_endpoints
     where tenant_id = %(tenant)s and enabled and (events = '{}' or %(event)s = any(events))
), numbered as (
    select endpoint_id, row_number() over (order by endpoint_id) as number from listening
), identified as (
    -- Further ids share time and counter of the first and differ in what is random: made here, because only here
    -- it is known how many are needed.
    select endpoint_id, case number when 1 then %(id)s::uuid else overlay(
               %(id)s::text placing left(encode(sha256((%(id)s::text || number)::bytea), 'hex'), 12) from 25)::uuid
           end as id
      from numbered
), queued as (
    insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, run_after, request_id, traceparent)
    select id, %(tenant)s, %(subject)s, %(kind)s, %(queue)s, %(stage)s, 'pending', now(), %(request_id)s,
           %(traceparent)s
      from identified
), recorded as (
    insert into webhook_deliveries (id, tenant_id, event_id, endpoint_id, event, data)
    select id, %(tenant)s, %(id)s, endpoint_id, %(event)s, %(data)s from identified
    returning id
)
select id, pg_notify(%(channel)s, %(queue)s)::text from recorded
"""

_NAME_SUBJECTS = """
insert into webhook_subjects (delivery_id, tenant_id, subject_id)
select delivery_id, %(tenant)s, subject_id
  from unnest(%(deliveries)s::uuid[]) as delivery_id, unnest(%(subjects)s::text[]) as subject_id
"""

_FORGET_SUBJECT = """
update webhook_deliveries
   set data = json_build_object(
           'count', data -> 'count',
           'subject_ids', (select coalesce(json_agg(name), '[]')
                             from json_array_elements_text(data -> 'subject_ids') as name where name <> %(subject)s))
 where id in (select delivery_id from webhook_subjects where tenant_id = %(tenant)s and subject_id = %(subject)s)
"""

_LOAD = """
select d.event_id, d.endpoint_id, d.event, d.data, d.created_at, now() - r.started_at as trying_for,
       e.url, e.enabled, e.disabled_reason, b.endpoint_id is not null as in_trouble,
       b.open_until is not null as breaker_open,
       case when e.former_secret_until > now() then array[e.secret, e.former_secret]
            when e.secret is not null then array[e.secret] else '{}' end as secrets
  from webhook_deliveries d
  join runs r using (id)
  left join webhook_endpoints e on e.id = d.endpoint_id
  left join webhook_breakers b on b.endpoint_id = d.endpoint_id
 where d.id = %s
"""

_ATTEMPTED = "update webhook_deliveries set http_status = %s, last_attempt_at = now() where id = %s"

#: Rows that somebody else is about to change are left out: waiting for many at once is how transactions deadlock.
_HURRY = """
update runs set run_after = now() + random() * %(spread)s::interval
 where id in (
    select r.id from runs r join webhook_deliveries d using (id)
     where r.kind = 'webhook' and r.state = 'pending' and r.run_after > now() and d.endpoint_id = %(endpoint)s
       for update of r skip locked)
"""

_FORGET_ENDPOINT = """
delete from runs
 where kind = 'webhook' and state in ('pending', 'running', 'failed', 'cancelled')
   and id in (select id from webhook_deliveries where tenant_id = %s and endpoint_id = %s)
"""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know to attempt a delivery. `url` is None for an endpoint that has no row."""

    event_id: UUID
    endpoint_id: UUID
    event: str
    data: msgspec.Raw
    created_at: datetime
    trying_for: timedelta
    url: str | None
    enabled: bool | None
    disabled_reason: str | None
    in_trouble: bool
    breaker_open: bool
    secrets: list[str]


def record(
    conn: Connection,
    tenant_id: str,
    event: str,
    data: dict[str, Any],
    *,
    subject_id: str | None,
    global_listens: bool,
    request_id: str | None,
) -> list[UUID]:
    """Write one delivery for each endpoint that hears of the event; none when nobody does.

    Args:
        subject_id: the subject whose erasure takes the deliveries with it.
        global_listens: whether the endpoint of `STATEWAVE_WEBHOOK_URL` hears of it.

    Returns:
        The ids of the deliveries.
    """
    rows = conn.execute(
        _RECORD,
        {
            "tenant": tenant_id,
            "event": event,
            "data": Json(data),
            "subject": subject_id,
            "global": GLOBAL_ENDPOINT,
            "global_listens": global_listens,
            "id": uuid7(),
            "kind": KIND,
            "queue": QUEUE,
            "stage": STAGE,
            "request_id": request_id,
            "traceparent": current_traceparent(),
            "channel": CHANNEL,
        },
    ).fetchall()
    return [delivery_id for delivery_id, _ in rows]


def name_subjects(conn: Connection, tenant_id: str, deliveries: Sequence[UUID], subjects: Sequence[str]) -> None:
    """Note which subjects an event about several names."""
    conn.execute(_NAME_SUBJECTS, {"tenant": tenant_id, "deliveries": list(deliveries), "subjects": list(subjects)})


def forget_subject(conn: Connection, tenant_id: str, subject_id: str) -> None:
    """Take the subject out of events about several, which go on without it. Call it before deleting its rows."""
    conn.execute(_FORGET_SUBJECT, {"tenant": tenant_id, "subject": subject_id})


def load(conn: Connection, run: Run) -> Delivery | None:
    """The delivery of a run; None when it was erased."""
    with conn.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(_LOAD, (run.id,)).fetchone()


def record_attempt(conn: Connection, run: Run, *, http_status: int | None) -> None:
    """Note when the receiver was last called and what it answered."""
    conn.execute(_ATTEMPTED, (http_status, run.id))


def hurry(conn: Connection, endpoint_id: UUID, *, spread_seconds: float) -> int:
    """Make everything that waits for the endpoint due within so many seconds.

    Returns:
        How many deliveries that were.
    """
    return conn.execute(_HURRY, {"endpoint": endpoint_id, "spread": f"{spread_seconds} seconds"}).rowcount


def forget_endpoint(conn: Connection, tenant_id: str, endpoint_id: UUID) -> int:
    """Delete what was not delivered to an endpoint.

    Returns:
        How many deliveries that were.
    """
    return conn.execute(_FORGET_ENDPOINT, (tenant_id, endpoint_id)).rowcount
