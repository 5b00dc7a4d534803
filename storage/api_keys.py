"""SQL of `api_keys`, and of the number that says whether what a process remembers of them still holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

_VIEW = """id, tenant_id, name, scopes, caller_id, caller_type, created_by, created_at, expires_at, replaced_by,
       revoked_at, revoked_by, last_used_at"""

_FIND_SECRET = """
select r.revision, k.secret_hash, k.tenant_id, k.name, k.scopes, k.caller_id, k.caller_type, k.expires_at, k.revoked_at
  from access_revision r left join api_keys k on k.id = %s
"""
_FIND_PIN = """
select r.revision, c.config -> 'region'
  from access_revision r left join tenant_configs c on c.tenant_id = %s
"""
_INSERT = f"""
insert into api_keys (id, tenant_id, name, secret_hash, scopes, caller_id, caller_type, created_by, created_at,
                      expires_at)
values (%(id)s, %(tenant_id)s, %(name)s, %(secret_hash)s, %(scopes)s, %(caller_id)s, %(caller_type)s, %(created_by)s,
        %(created_at)s, %(expires_at)s)
on conflict (name) where revoked_at is null and replaced_by is null do nothing
returning {_VIEW}
"""
_LIST = f"""
select {_VIEW} from api_keys
 where (%(tenant)s::text is null or tenant_id = %(tenant)s)
   and (not %(operators)s or tenant_id is null)
   and (%(over)s or (revoked_at is null and (expires_at is null or expires_at > %(now)s)))
   and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(after)s))
 order by created_at desc, id desc
 limit %(limit)s
"""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as operators see it: everything but the secret."""

    id: str
    tenant_id: str | None
    name: str
    scopes: list[str]
    caller_id: str | None
    caller_type: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    replaced_by: str | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None


class KeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether a key opens anything."""

    secret_hash: bytes
    tenant_id: str | None
    name: str
    scopes: list[str]
    caller_id: str | None
    caller_type: str | None
    expires_at: datetime | None
    revoked_at: datetime | None


def find_secret(conn: Connection, key_id: str) -> tuple[int, KeySecret | None]:
    """The access revision, and the key as it was then; one statement, so that neither is older than the other."""
    row = conn.execute(_FIND_SECRET, (key_id,)).fetchone()
    assert row is not None
    if row[1] is None:
        return row[0], None
    return row[0], KeySecret(**dict(zip(KeySecret.__struct_fields__, row[1:], strict=True)))


def find_pin(conn: Connection, tenant_id: str) -> tuple[int, Any]:
    """The access revision, and the tenant's region as it is stored, whatever that is; None without one."""
    row = conn.execute(_FIND_PIN, (tenant_id,)).fetchone()
    assert row is not None
    return row[0], row[1]


def insert(conn: Connection, values: Mapping[str, Any]) -> KeyView | None:
    """Store a key; None when another one bears its name."""
    with conn.cursor(row_factory=class_row(KeyView)) as cursor:
        return cursor.execute(_INSERT, values).fetchone()


def find(conn: Connection, key_id: str, *, lock: bool = False) -> KeyView | None:
    """One key; `lock` keeps others from changing it until the transaction ends."""
    statement = f"select {_VIEW} from api_keys where id = %s" + (" for update" if lock else "")
    with conn.cursor(row_factory=class_row(KeyView)) as cursor:
        return cursor.execute(statement, (key_id,)).fetchone()


def list_keys(
    conn: Connection,
    *,
    tenant_id: str | None,
    operators_only: bool,
    include_over: bool,
    after: KeyView | None,
    limit: int,
    now: datetime,
) -> list[KeyView]:
    """Keys, the newest first, those after `after`. Index: api_keys_tenant where a tenant is named."""
    values = {
        "tenant": tenant_id,
        "operators": operators_only,
        "over": include_over,
        "at": after.created_at if after else None,
        "after": after.id if after else None,
        "limit": limit,
        "now": now,
    }
    with conn.cursor(row_factory=class_row(KeyView)) as cursor:
        return cursor.execute(_LIST, values).fetchall()


def retire(conn: Connection, key_id: str, *, until: datetime) -> None:
    """Let a key that is being replaced work until then at most. Its name is free from now on."""
    conn.execute(
        "update api_keys set replaced_by = id, expires_at = least(expires_at, %s) where id = %s", (until, key_id)
    )


def set_successor(conn: Connection, key_id: str, successor_id: str) -> None:
    """Say which key took the place of a retired one."""
    conn.execute("update api_keys set replaced_by = %s where id = %s", (successor_id, key_id))


def revoke(conn: Connection, key_id: str, *, by: str, now: datetime) -> KeyView | None:
    """End a key for good. One that is over already stays as it is; None when there is none."""
    conn.execute(
        "update api_keys set revoked_at = %s, revoked_by = %s where id = %s and revoked_at is null", (now, by, key_id)
    )
    return find(conn, key_id)


def note_uses(conn: Connection, uses: Mapping[str, datetime]) -> None:
    """Remember when keys were last used; never backwards."""
    conn.execute(
        "update api_keys k set last_used_at = u.at from unnest(%s::text[], %s::timestamptz[]) u (id, at)"
        " where k.id = u.id and (k.last_used_at is null or k.last_used_at < u.at)",
        (list(uses), list(uses.values())),
    )
