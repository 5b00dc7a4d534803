"""SQL of `receipts`, `receipt_tombstones` and `receipt_chains`: append, read, hide; never change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import LiteralString

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection, Pool, appending_transaction, end_with, text_array

#: The wait for the chain is bounded: a context must not wait for a process that hangs.
_LOCK_HEAD: LiteralString = """
; set local lock_timeout = '2s'
; select length, head_hash from receipt_chains where tenant_id = {tenant} for update
"""

#: The wait for whoever is writing is bounded in the same way.
_WAIT = b"set local lock_timeout = '2s'"
_APPEND_BEHIND = b"; select is_written, length, head_hash from append_receipt(%b, %b)"

_BEGIN_CHAIN = """
insert into receipt_chains (tenant_id, length, head_hash) values (%s, 0, %s) on conflict (tenant_id) do nothing
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

_CONDITIONS: dict[str, LiteralString] = {
    "tenant_id": "r.tenant_id = %(tenant_id)s",
    "subject_id": "r.subject_id = %(subject_id)s",
    "since": "r.created_at >= %(since)s",
    "until": "r.created_at <= %(until)s",
    "from_id": "r.receipt_id >= %(from_id)s",
    "before": "r.receipt_id < %(before)s",
    "holding": "not exists (select 1 from unnest(%(holding)s::bytea[]) held where position(held in r.canonical) = 0)",
}

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


class ReceiptFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which receipts. Times are those at which they were written, bounds included."""

    tenant_id: str | None = None
    subject_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: The smallest id that `since` can have, so that the index ends the scan.
    from_id: str | None = None
    #: Only ids below this one.
    before: str | None = None
    #: What their bytes hold. Every receipt of the subject or the tenant is looked at for it, until the page is full.
    holding: Sequence[bytes] | None = None
    include_tombstoned: bool = False


@contextmanager
def chain_end(pool: Pool, tenant_id: str, conn: Connection | None = None) -> Iterator[tuple[Connection, ChainHead]]:
    """A transaction behind the newest receipt of the tenant, whose chain is locked until it ends.

    Two round trips: one locks and reads the head, one appends and commits.

    Args:
        conn: A connection to do it on; a transaction that is open on it is committed first.

    Raises:
        psycopg.errors.LockNotAvailable: when somebody has held the chain for two seconds.
    """
    with appending_transaction(pool, tenant_id, _LOCK_HEAD, conn) as (own, row):
        if row is not None:
            yield own, ChainHead(length=row[0], hash=bytes(row[1]))
    if row is None:
        with appending_transaction(pool, tenant_id, "", conn) as (own, _):
            own.execute(_BEGIN_CHAIN, (tenant_id, bytes(32)))
        with appending_transaction(pool, tenant_id, _LOCK_HEAD, conn) as (own, row):
            yield own, ChainHead(length=row[0], hash=bytes(row[1]))


def append_behind(conn: Connection, tenant_id: str, rows: Sequence[NewReceipt], head: ChainHead) -> ChainHead | None:
    """Commit what is open on the connection and write receipts, each behind the one before it, in one round trip.

    Args:
        rows: at least one.
        head: where the chain was seen to end; the first of the rows stands behind it.

    Returns:
        None when they are written and committed. Otherwise nothing is, and this is where the chain ends now.

    Raises:
        psycopg.errors.LockNotAvailable: when somebody has held the chain for two seconds.
    """
    values: list[str] = []
    previous = head.hash
    for row in rows:
        columns = text_array(
            [
                *(row.receipt_id, row.subject_id, row.mode, str(row.chain_seq), previous.hex(), row.chain_hash.hex()),
                *(row.signature, row.key_id, row.algorithm, row.created_at.isoformat()),
            ]
        )
        # PERF: as text; bytes would be twice as many digits.
        values += [columns, row.canonical.decode()]
        previous = row.chain_hash
    # Where the first is not written none is: the others stand behind what is not there.
    is_written, length, hash = end_with(conn, tenant_id, _WAIT + _APPEND_BEHIND * len(rows), values)
    return None if is_written else ChainHead(length=length, hash=bytes(hash))


def append(conn: Connection, tenant_id: str, receipt: NewReceipt) -> None:
    """Write a receipt behind the head that is locked (`chain_end`), in one statement."""
    conn.execute(_APPEND, {"tenant": tenant_id, **msgspec.structs.asdict(receipt)})


def find(conn: Connection, tenant_id: str | None, receipt_id: str) -> StoredReceipt | None:
    """One receipt; of any tenant if none is named. Index: the primary key."""
    condition = " where r.receipt_id = %s and (%s::text is null or r.tenant_id = %s)"
    with conn.cursor(row_factory=class_row(StoredReceipt)) as cursor:
        return cursor.execute(_JOINED + condition, (receipt_id, tenant_id, tenant_id)).fetchone()


def page(conn: Connection, which: ReceiptFilter, *, limit: int, offset: int = 0) -> list[StoredReceipt]:
    """Receipts by descending id. Indexes: receipts_subject, receipts_subject_anywhere or the primary key."""
    conditions = [condition for name, condition in _CONDITIONS.items() if getattr(which, name) is not None]
    if not which.include_tombstoned:
        conditions.append("t.tombstoned_at is null")
    where = " and ".join(conditions) or "true"
    with conn.cursor(row_factory=class_row(StoredReceipt)) as cursor:
        return cursor.execute(
            f"{_JOINED} where {where} order by r.receipt_id desc limit %(limit)s offset %(offset)s",
            {**msgspec.structs.asdict(which), "limit": limit, "offset": offset},
        ).fetchall()


def count(conn: Connection, tenant_id: str, subject_id: str) -> int:
    """How many receipts there are of a subject. Index: receipts_subject."""
    row = conn.execute(
        "select count(*) from receipts where tenant_id = %s and subject_id = %s", (tenant_id, subject_id)
    ).fetchone()
    return row[0] if row else 0


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


def retained(conn: Connection) -> list[tuple[str, int]]:
    """Tenants whose receipts are hidden after a time, and after how many days."""
    rows = conn.execute(
        "select tenant_id, config->'receipt_retention_days' from tenant_configs"
        " where jsonb_typeof(config->'receipt_retention_days') = 'number'"
    ).fetchall()
    return [(tenant_id, int(days)) for tenant_id, days in rows if days > 0]


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
