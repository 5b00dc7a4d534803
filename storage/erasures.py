"""SQL of `erasures` and `erased_items`: the ledger of what was erased. Rows come and stay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

#: What was erased: a subject with everything, or some of its memories and episodes.
Scope = Literal["subject", "memory"]

#: Whether a sweep has looked since, and found nothing.
ProofState = Literal["unproved", "proved", "leftovers"]

_COLUMNS = "id, tenant_id, scope, subject_sha256, erased_at, receipt, state, proof, proved_at"

_LIST = f"""
select {_COLUMNS} from erasures
 where (%(tenant)s::text is null or tenant_id = %(tenant)s)
   and (%(subject)s::bytea is null or subject_sha256 = %(subject)s)
   and (%(state)s::text is null or state = %(state)s)
   and (%(before)s::uuid is null or id < %(before)s)
 order by id desc
 limit %(limit)s
"""

_LAST_OF_SUBJECT = """
select max(erased_at) from erasures
 where scope = 'subject' and (tenant_id, subject_sha256) in (select * from unnest(%s::text[], %s::bytea[]))
"""


class ErasureRow(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the ledger. `receipt` and `proof` are JSON text, the former exactly as it was signed."""

    id: UUID
    tenant_id: str
    scope: Scope
    subject_sha256: bytes
    erased_at: datetime
    receipt: msgspec.Raw
    state: ProofState
    proof: msgspec.Raw | None
    proved_at: datetime | None


def insert(
    conn: Connection,
    erasure_id: UUID,
    *,
    tenant_id: str,
    scope: str,
    subject_sha256: bytes,
    erased_at: datetime,
    receipt: bytes,
    item_hashes: Sequence[bytes] = (),
) -> None:
    """Enter an erasure into the ledger.

    Args:
        item_hashes: what was erased one by one, besides the subject as a whole.
    """
    conn.execute(
        "insert into erasures (id, tenant_id, scope, subject_sha256, erased_at, receipt)"
        " values (%s, %s, %s, %s, %s, %s::json)",
        (erasure_id, tenant_id, scope, subject_sha256, erased_at, receipt.decode()),
    )
    if item_hashes:
        conn.execute(
            "insert into erased_items (tenant_id, item_sha256, erasure_id) select %s, unnest(%s::bytea[]), %s"
            " on conflict do nothing",
            (tenant_id, list(item_hashes), erasure_id),
        )


def find(conn: Connection, erasure_id: UUID) -> ErasureRow | None:
    """One entry, if the transaction may see it."""
    with conn.cursor(row_factory=class_row(ErasureRow)) as cursor:
        return cursor.execute(f"select {_COLUMNS} from erasures where id = %s", (erasure_id,)).fetchone()


def page(
    conn: Connection,
    *,
    tenant_id: str | None,
    subject_sha256: bytes | None,
    state: str | None,
    before: UUID | None,
    limit: int,
) -> list[ErasureRow]:
    """Entries, the newest first. Indexes: erasures_subject, erasures_newest, the primary key."""
    parameters = {
        "tenant": tenant_id,
        "subject": subject_sha256,
        "state": state,
        "before": before,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(ErasureRow)) as cursor:
        return cursor.execute(_LIST, parameters).fetchall()


def record_proof(conn: Connection, erasure_id: UUID, *, state: str, proof: bytes, now: datetime) -> None:
    """Write down what a sweep found."""
    conn.execute(
        "update erasures set state = %s, proof = %s::json, proved_at = %s where id = %s",
        (state, proof.decode(), now, erasure_id),
    )


def last_erasure(conn: Connection, subjects: Sequence[tuple[str, bytes]]) -> datetime | None:
    """When any of the subjects, given as (tenant, hash), was last erased; None if never. Index: erasures_subject."""
    row = conn.execute(_LAST_OF_SUBJECT, ([t for t, _ in subjects], [h for _, h in subjects])).fetchone()
    return row[0] if row else None


def erased_among(conn: Connection, tenants: Sequence[str], item_hashes: Sequence[bytes]) -> set[bytes]:
    """Which of these were erased one by one. Index: the primary key."""
    rows = conn.execute(
        "select item_sha256 from erased_items where tenant_id = any(%s) and item_sha256 = any(%s)",
        (list(tenants), list(item_hashes)),
    ).fetchall()
    return {bytes(row[0]) for row in rows}
