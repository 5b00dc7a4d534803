"""SQL of `receipts`, `receipt_tombstones` and `receipt_chains`: append, read, hide; never change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

#: Longest wait for the tenant's chain: a context must not wait for a process that hangs.
_LOCK_TIMEOUT = "set local lock_timeout = '2s'"

_HEAD = "select length, head_hash from receipt_chains where tenant_id = %s for update"

_FIRST = """
insert into receipt_chains (tenant_id, length, head_hash) values (%s, 0, %s)
on conflict (tenant_id) do update set length = receipt_chains.length
returning length, head_hash
"""

_APPEND = """
with written as (
    insert into receipts (tenant_id, receipt_id, subject_id, mode, chain_seq, chain_hash, canonical, signature, key_id,
                          algorithm, created_at)
    values (%(tenant)s, %(receipt_id)s, %(subject_id)s, %(mode)s, %(chain_seq)s, %(chain_hash)s, %(canonical)s,
            %(signature)s, %(key_id)s, %(algorithm)s, %(created_at)s)
)
update receipt_chains set length = %(chain_seq)s, head_hash = %(chain_hash)s where tenant_id = %(tenant)s
"""

_COLUMNS = """
r.tenant_id, r.receipt_id, r.subject_id, r.mode, r.chain_seq, r.chain_hash, r.canonical, r.signature, r.key_id,
r.algorithm, r.created_at
"""

_JOINED = f"""
select {_COLUMNS}, t.tombstoned_at
  from receipts r
  left join receipt_tombstones t on t.tenant_id = r.tenant_id and t.receipt_id = r.receipt_id
"""

_PAGE = f"""
{_JOINED}
 where (%(tenant)s::text is null or r.tenant_id = %(tenant)s) and (%(subject)s::text is null or r.subject_id = %(subject)s)
   and (%(before)s::text is null or r.receipt_id < %(before)s)
   and (%(from_id)s::text is null or r.receipt_id >= %(from_id)s)
   and (%(since)s::timestamptz is null or r.created_at >= %(since)s)
   and (%(until)s::timestamptz is null or r.created_at <= %(until)s)
   and (%(tombstoned)s or t.tombstoned_at is null)
 order by r.receipt_id desc
 limit %(limit)s
"""

_CHAIN = f"select {_COLUMNS}, null::timestamptz as tombstoned_at from receipts r where r.tenant_id = %s"

_TOMBSTONE = """
insert into receipt_tombstones (tenant_id, receipt_id, tombstoned_at)
select r.tenant_id, r.receipt_id, %(now)s
  from receipts r
 where r.tenant_id = %(tenant)s and r.created_at < %(before)s
   and not exists (select 1 from receipt_tombstones t where t.tenant_id = r.tenant_id and t.receipt_id = r.receipt_id)
 order by r.created_at
 limit %(limit)s
on conflict do nothing
"""


class ChainHead(msgspec.Struct, frozen=True, kw_only=True):
    """The newest receipt of a tenant; zeros before the first."""

    length: int
    hash: bytes


class NewReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt about to be written."""

    receipt_id: str
    subject_id: str
    mode: str
    chain_seq: int
    chain_hash: bytes
    canonical: bytes
    signature: str | None
    key_id: str | None
    algorithm: str | None
    created_at: datetime


class StoredReceipt(NewReceipt, frozen=True, kw_only=True):
    """A receipt as it was written, and since when it is hidden."""

    tenant_id: str
    tombstoned_at: datetime | None


def lock_chain(conn: Connection, tenant_id: str) -> ChainHead:
    """The head of the tenant's chain, locked until the transaction ends. Index: the primary key.

    Raises:
        psycopg.errors.LockNotAvailable: when somebody has held it for two seconds.
    """
    conn.execute(_LOCK_TIMEOUT)
    row = conn.execute(_HEAD, (tenant_id,)).fetchone()
    if row is None:
        row = conn.execute(_FIRST, (tenant_id, bytes(32))).fetchone()
    assert row is not None
    return ChainHead(length=row[0], hash=bytes(row[1]))


def append(conn: Connection, tenant_id: str, receipt: NewReceipt) -> None:
    """Write a receipt behind the head that is locked, in one statement."""
    conn.execute(_APPEND, {"tenant": tenant_id, **msgspec.structs.asdict(receipt)})


def find(conn: Connection, tenant_id: str | None, receipt_id: str) -> StoredReceipt | None:
    """One receipt; of any tenant if none is named. Index: the primary key."""
    condition = " where r.receipt_id = %s and (%s::text is null or r.tenant_id = %s)"
    with conn.cursor(row_factory=class_row(StoredReceipt)) as cursor:
        return cursor.execute(_JOINED + condition, (receipt_id, tenant_id, tenant_id)).fetchone()


def page(
    conn: Connection,
    *,
    tenant_id: str | None,
    subject_id: str | None,
    since: datetime | None,
    until: datetime | None,
    from_id: str | None,
    before: str | None,
    include_tombstoned: bool,
    limit: int,
) -> list[StoredReceipt]:
    """Receipts by descending id. Indexes: receipts_subject, or the primary key where no subject is named.

    Args:
        from_id: smallest id of `since`, so that the index ends the scan.
        before: only ids below this one.
    """
    with conn.cursor(row_factory=class_row(StoredReceipt)) as cursor:
        return cursor.execute(
            _PAGE,
            {
                "tenant": tenant_id,
                "subject": subject_id,
                "since": since,
                "until": until,
                "from_id": from_id,
                "before": before,
                "tombstoned": include_tombstoned,
                "limit": limit,
            },
        ).fetchall()


def chain(conn: Connection, tenant_id: str, *, from_seq: int, limit: int) -> Sequence[StoredReceipt]:
    """A stretch of the tenant's chain, oldest first. Index: (tenant_id, chain_seq)."""
    with conn.cursor(row_factory=class_row(StoredReceipt)) as cursor:
        return cursor.execute(
            _CHAIN + " and r.chain_seq >= %s order by r.chain_seq limit %s", (tenant_id, from_seq, limit)
        ).fetchall()


def chain_head(conn: Connection, tenant_id: str) -> ChainHead:
    """The head of the tenant's chain, without locking it."""
    row = conn.execute("select length, head_hash from receipt_chains where tenant_id = %s", (tenant_id,)).fetchone()
    return ChainHead(length=row[0], hash=bytes(row[1])) if row else ChainHead(length=0, hash=bytes(32))


def seq_at(conn: Connection, tenant_id: str, moment: datetime) -> int | None:
    """Place in the chain of the first receipt written at or after a moment. Index: receipts_age."""
    row = conn.execute(
        "select min(chain_seq) from receipts where tenant_id = %s and created_at >= %s", (tenant_id, moment)
    ).fetchone()
    return row[0] if row else None


def tombstone(conn: Connection, tenant_id: str, *, older_than: timedelta, now: datetime, limit: int) -> int:
    """Hide at most `limit` of a tenant's receipts that are past their retention. Index: receipts_age."""
    return conn.execute(
        _TOMBSTONE, {"tenant": tenant_id, "before": now - older_than, "now": now, "limit": limit}
    ).rowcount
