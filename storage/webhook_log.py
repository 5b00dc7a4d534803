"""SQL over deliveries for operators: list, count, purge, send again. All of it needs an operator's transaction.

Statuses on the wire stand for states of the run: `pending` (pending, running), `delivered` (completed) and
`dead_letter` (failed, cancelled).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

STATES = {
    "pending": ["pending", "running"],
    "delivered": ["completed"],
    "dead_letter": ["failed", "cancelled"],
}

_STATUS = """case r.state when 'completed' then 'delivered' when 'pending' then 'pending' when 'running' then 'pending'
            else 'dead_letter' end"""

_COLUMNS = f"""
d.id, d.event_id, d.endpoint_id, d.event, {_STATUS} as status, r.attempts, d.last_attempt_at,
case when r.state in ('pending', 'running') then r.run_after end as next_attempt_at,
r.error as last_error, d.http_status, d.created_at,
case when r.state = 'completed' then r.finished_at end as delivered_at, d.tenant_id
"""

_MATCHING = """
  from webhook_deliveries d join runs r using (id)
 where r.kind = 'webhook'
   and (%(states)s::text[] is null or r.state = any(%(states)s))
   and (%(tenant)s::text is null or d.tenant_id = %(tenant)s)
   and (%(event)s::text is null or d.event = %(event)s)
   and (%(endpoint)s::uuid is null or d.endpoint_id = %(endpoint)s)
   and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
   and (%(until)s::timestamptz is null or d.created_at < %(until)s)
"""

_LIST = f"select {_COLUMNS} {_MATCHING} order by d.id desc limit %(limit)s offset %(offset)s"

_COUNT = f"select count(*) {_MATCHING}"

_FIND = f"""
select {_COLUMNS}, r.errors as history, r.request_id,
       array(select s.id from webhook_deliveries s
              where s.id = d.event_id or (s.event_id = d.event_id and s.event_id <> s.id) order by s.id) as siblings
  from webhook_deliveries d join runs r using (id)
 where d.id = %s
"""

_STATISTICS = f"""
select {_STATUS} as status, count(*) from runs r
 where r.kind = 'webhook' and (%(tenant)s::text is null or r.tenant_id = %(tenant)s)
 group by 1
"""

_PURGE = f"""
delete from runs where id in (select d.id {_MATCHING} order by d.id limit %(limit)s for update of r skip locked)
"""

_PURGE_DELIVERED = """
delete from runs where id in (
    select id from runs where kind = 'webhook' and state = 'completed' and finished_at < %s
     order by finished_at limit %s for update skip locked)
"""

_AGAIN = """
update runs
   set state = 'pending', attempts = 0, crashes = 0, quarantined = false, run_after = now(), ready_at = now(),
       woken_at = null, lease_until = null, started_at = null, finished_at = null, result = null
"""

_REPLAY_ONE = f"{_AGAIN} where id = %s and kind = 'webhook' and state in ('completed', 'failed', 'cancelled')"

_REPLAY_MANY = f"""
with chosen as (select d.id {_MATCHING} order by d.id limit %(limit)s for update of r skip locked)
{_AGAIN} from chosen where runs.id = chosen.id returning runs.id
"""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries are meant; None leaves a criterion out."""

    status: str | None = None
    event: str | None = None
    tenant_id: str | None = None
    endpoint_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """As the statements of this module want them."""
        return {
            "states": None if self.status is None else STATES[self.status],
            "tenant": self.tenant_id,
            "event": self.event,
            "endpoint": self.endpoint_id,
            "since": self.since,
            "until": self.until,
        }


class LoggedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """How a delivery stands."""

    id: UUID
    event_id: UUID
    endpoint_id: UUID
    event: str
    status: str
    attempts: int
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    last_error: str | None
    http_status: int | None
    created_at: datetime
    delivered_at: datetime | None
    tenant_id: str


class DeliveryHistory(LoggedDelivery, frozen=True, kw_only=True):
    """A delivery with all its failed attempts, and the deliveries of the same event."""

    history: list[dict[str, Any]]
    request_id: str | None
    siblings: list[UUID]


def list_deliveries(conn: Connection, wanted: Filter, *, limit: int, offset: int) -> tuple[list[LoggedDelivery], int]:
    """One page, newest first, and the number of all that match. Index: runs_webhooks or the primary key."""
    parameters = wanted.parameters() | {"limit": limit, "offset": offset}
    with conn.cursor(row_factory=class_row(LoggedDelivery)) as cursor:
        page = cursor.execute(_LIST, parameters).fetchall()
    if offset == 0 and len(page) < limit:
        return page, len(page)
    total = conn.execute(_COUNT, parameters).fetchone()
    return page, total[0] if total else 0


def find(conn: Connection, delivery_id: UUID) -> DeliveryHistory | None:
    """One delivery."""
    with conn.cursor(row_factory=class_row(DeliveryHistory)) as cursor:
        return cursor.execute(_FIND, (delivery_id,)).fetchone()


def statistics(conn: Connection, tenant_id: str | None) -> dict[str, int]:
    """Deliveries by status, of one tenant or of all; zeros included. Index: runs_webhooks."""
    counts: dict[str, int] = dict(conn.execute(_STATISTICS, {"tenant": tenant_id}).fetchall())
    return {status: counts.get(status, 0) for status in STATES}


def purge(conn: Connection, wanted: Filter, *, limit: int) -> int:
    """Delete at most `limit` deliveries that match, oldest first; how many were deleted."""
    return conn.execute(_PURGE, wanted.parameters() | {"limit": limit}).rowcount


def purge_delivered(conn: Connection, *, before: datetime, limit: int) -> int:
    """Delete what was delivered before a moment, at most `limit`. Index: runs_finished."""
    return conn.execute(_PURGE_DELIVERED, (before, limit)).rowcount


def replay_one(conn: Connection, delivery_id: UUID) -> bool:
    """Make a finished delivery due again with all its attempts before it; False when it is not finished."""
    return conn.execute(_REPLAY_ONE, (delivery_id,)).rowcount == 1


def replay_many(conn: Connection, wanted: Filter, *, limit: int) -> list[UUID]:
    """Make at most `limit` finished deliveries that match due again, oldest first; their ids."""
    return [row[0] for row in conn.execute(_REPLAY_MANY, wanted.parameters() | {"limit": limit})]
