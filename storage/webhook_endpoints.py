"""SQL of `webhook_endpoints` and `webhook_breakers`: where events are to be sent, and which places are in trouble."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

#: Endpoints that a tenant may have. Every event is written once for each.
MOST_PER_TENANT = 10

_COLUMNS = (
    "id, tenant_id, url, events, description, secret, former_secret_until, enabled, disabled_reason, created_at,"
    " updated_at"
)

_INSERT = f"""
insert into webhook_endpoints (id, tenant_id, url, events, description, secret, enabled, disabled_reason)
select %(id)s, %(tenant)s, %(url)s, %(events)s, %(description)s, %(secret)s, %(enabled)s, %(disabled_reason)s
 where (select count(*) from webhook_endpoints where tenant_id = %(tenant)s) < %(most)s
returning {_COLUMNS}
"""

_UPDATE = f"""
update webhook_endpoints
   set url = coalesce(%(url)s, url), events = coalesce(%(events)s, events),
       description = coalesce(%(description)s, description), enabled = coalesce(%(enabled)s, enabled),
       disabled_reason = case when coalesce(%(enabled)s, enabled) then null
                              else coalesce(disabled_reason, %(disabled_reason)s) end,
       updated_at = now()
 where tenant_id = %(tenant)s and id = %(id)s
returning {_COLUMNS}
"""

_ROTATE = f"""
update webhook_endpoints
   set former_secret = secret, former_secret_until = now() + %(overlap)s, secret = %(secret)s, updated_at = now()
 where tenant_id = %(tenant)s and id = %(id)s
returning {_COLUMNS}
"""

_DISABLE = """
update webhook_endpoints set enabled = false, disabled_reason = %s, updated_at = now() where id = %s and enabled
"""

_TRY_ALONE = """
update webhook_breakers set open_until = now() + %(window)s
 where endpoint_id = %(endpoint)s and open_until <= now()
"""

_OPEN_FOR = """
select greatest(open_until - now(), interval '0') from webhook_breakers
 where endpoint_id = %s and open_until is not null
"""

#: Failures of deliveries that were under way when the breaker opened say nothing new and leave it as it is.
_TROUBLE = """
insert into webhook_breakers as b (endpoint_id, tenant_id, failures, open_until)
values (%(endpoint)s, %(tenant)s, 1, case when %(pause)s > interval '0' then now() + %(pause)s end)
on conflict (endpoint_id) do update
   set failures = b.failures + 1,
       open_until = case
           when b.failures + 1 >= %(threshold)s then now() + greatest(
               %(pause)s, least(%(longest)s, %(first)s * power(2, least(b.failures + 1 - %(threshold)s, 20))))
           when %(pause)s > interval '0' then now() + %(pause)s end
 where b.open_until is null or %(alone)s
returning open_until - now()
"""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a tenant has its events sent to."""

    id: UUID
    tenant_id: str
    url: str
    events: list[str]
    description: str
    secret: str
    former_secret_until: datetime | None
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


def insert(
    conn: Connection, tenant_id: str, *, endpoint_id: UUID, url: str, events: Sequence[str], description: str,
    secret: str, enabled: bool, disabled_reason: str | None,
) -> Endpoint | None:  # fmt: skip
    """Store an endpoint; None when the tenant has `MOST_PER_TENANT` already."""
    conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"webhook_endpoints:{tenant_id}",))
    return _one(
        conn,
        _INSERT,
        {
            "id": endpoint_id,
            "tenant": tenant_id,
            "url": url,
            "events": list(events),
            "description": description,
            "secret": secret,
            "enabled": enabled,
            "disabled_reason": disabled_reason,
            "most": MOST_PER_TENANT,
        },
    )


def list_endpoints(conn: Connection, tenant_id: str) -> list[Endpoint]:
    """All endpoints of a tenant, oldest first."""
    with conn.cursor(row_factory=class_row(Endpoint)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from webhook_endpoints where tenant_id = %s order by id", (tenant_id,)
        ).fetchall()


def find(conn: Connection, tenant_id: str, endpoint_id: UUID) -> Endpoint | None:
    """One endpoint of a tenant."""
    query = f"select {_COLUMNS} from webhook_endpoints where tenant_id = %(tenant)s and id = %(id)s"
    return _one(conn, query, {"tenant": tenant_id, "id": endpoint_id})


def update(
    conn: Connection,
    tenant_id: str,
    endpoint_id: UUID,
    *,
    url: str | None,
    events: Sequence[str] | None,
    description: str | None,
    enabled: bool | None,
    disabled_reason: str,
) -> Endpoint | None:
    """Change what is not None; None when the tenant has no such endpoint."""
    parameters = {
        "tenant": tenant_id,
        "id": endpoint_id,
        "url": url,
        "events": None if events is None else list(events),
        "description": description,
        "enabled": enabled,
        "disabled_reason": disabled_reason,
    }
    return _one(conn, _UPDATE, parameters)


def rotate(conn: Connection, tenant_id: str, endpoint_id: UUID, *, secret: str, overlap: timedelta) -> Endpoint | None:
    """Sign with a new secret, and with the former one as well for a while; None when there is no such endpoint."""
    parameters = {"tenant": tenant_id, "id": endpoint_id, "secret": secret, "overlap": overlap}
    return _one(conn, _ROTATE, parameters)


def delete(conn: Connection, tenant_id: str, endpoint_id: UUID) -> bool:
    """Remove the endpoint; False when there was none."""
    conn.execute("delete from webhook_breakers where endpoint_id = %s", (endpoint_id,))
    cursor = conn.execute("delete from webhook_endpoints where tenant_id = %s and id = %s", (tenant_id, endpoint_id))
    return cursor.rowcount == 1


def disable(conn: Connection, endpoint_id: UUID, *, reason: str) -> None:
    """Send nothing to the endpoint any more."""
    conn.execute(_DISABLE, (reason, endpoint_id))


def try_alone(conn: Connection, endpoint_id: UUID, *, window: timedelta) -> bool:
    """Whether the caller is the one to find out if an endpoint in trouble is well again.

    The others are kept away for `window`, after which somebody else may try.
    """
    return conn.execute(_TRY_ALONE, {"endpoint": endpoint_id, "window": window}).rowcount == 1


def open_for(conn: Connection, endpoint_id: UUID) -> timedelta | None:
    """How long nothing is to be sent to the endpoint; None when it is not in trouble."""
    row = conn.execute(_OPEN_FOR, (endpoint_id,)).fetchone()
    return row[0] if row else None


def trouble(
    conn: Connection,
    tenant_id: str,
    endpoint_id: UUID,
    *,
    alone: bool,
    pause: timedelta,
    threshold: int,
    first: timedelta,
    longest: timedelta,
) -> timedelta | None:
    """Count a failure in a row. From the `threshold`th on nothing is sent for `first`, doubling up to `longest`.

    Args:
        alone: whether the delivery was the one that tried for all.
        pause: how long the receiver asked to be left alone; zero when it did not.

    Returns:
        How long nothing will be sent; None when deliveries go on, or the breaker was open already.
    """
    row = conn.execute(
        _TROUBLE,
        {
            "tenant": tenant_id,
            "endpoint": endpoint_id,
            "alone": alone,
            "pause": pause,
            "threshold": threshold,
            "first": first,
            "longest": longest,
        },
    ).fetchone()
    return row[0] if row else None


def well_again(conn: Connection, endpoint_id: UUID) -> bool:
    """Forget the failures. Whether the breaker was open."""
    row = conn.execute(
        "delete from webhook_breakers where endpoint_id = %s returning open_until is not null", (endpoint_id,)
    ).fetchone()
    return bool(row and row[0])


def _one(conn: Connection, query: str, parameters: dict[str, Any]) -> Endpoint | None:
    with conn.cursor(row_factory=class_row(Endpoint)) as cursor:
        return cursor.execute(query, parameters).fetchone()
