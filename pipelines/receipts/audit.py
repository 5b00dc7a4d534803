"""Walking a tenant's chain of receipts: is every one there, as it was written, in its place?

Every receipt names its place (`chain_seq`) and the hash of the one before it (`previous_hash`), and both are signed. So
one that is removed leaves a gap, one that is altered no longer has the hash that the next one names, and one that is
put in between fits nowhere. Cutting off the end is what a chain alone cannot show: keep the head that an audit tells
(`head_seq`, `head_hash`) somewhere else, and a later audit must still pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from config.errors import BadRequest
from config.settings import Settings
from pipelines.receipts.canonical import NOTHING_BEFORE, chain_hash
from pipelines.receipts.reading import body_of, columns_agree, verify
from pipelines.services import Services
from storage import receipts
from storage.receipts import StoredReceipt
from storage.transactions import operator_transaction

Reason = Literal["missing", "altered", "signature_mismatch", "chain_mismatch", "cut_off"]


class ChainBreak(msgspec.Struct, frozen=True, kw_only=True):
    """The first place at which a chain does not hold."""

    chain_seq: int
    receipt_id: str | None
    reason: Reason
    message: str


class ChainAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found. `intact` speaks of what was checked; `next_cursor` says that there is more."""

    tenant_id: str
    intact: bool
    checked: int
    unsigned: int
    unverifiable: int
    first_break: ChainBreak | None
    head_seq: int
    head_hash: str
    next_cursor: str | None


def audit(
    services: Services,
    tenant_id: str,
    *,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
    limit: int,
) -> ChainAudit:
    """Check a stretch of a tenant's chain, from the beginning, a time or a cursor on.

    Raises:
        BadRequest: when the cursor is none of ours.
    """
    with operator_transaction(services.pool) as conn:
        first = _first(cursor) or (receipts.seq_at(conn, tenant_id, since) if since else None) or 1
        rows = receipts.chain(conn, tenant_id, from_seq=max(1, first - 1), limit=limit + 2)
        head = receipts.chain_head(conn, tenant_id)
    before = rows[0] if rows and rows[0].chain_seq < first else None
    wanted = [row for row in rows if row.chain_seq >= first]
    stretch = [row for row in wanted[:limit] if until is None or row.created_at <= until]
    found = _first_break(services.settings, stretch, first, before)
    reached_end = len(wanted) <= limit and len(stretch) == len(wanted)
    if found is None and reached_end:
        found = _end(stretch or ([before] if before else []), head.length, head.hash.hex())
    checks = [verify(services.settings, row).valid if row.signature else None for row in stretch]
    return ChainAudit(
        tenant_id=tenant_id,
        intact=found is None,
        checked=len(stretch),
        unsigned=sum(row.signature is None for row in stretch),
        unverifiable=sum(
            row.signature is not None and valid is None for row, valid in zip(stretch, checks, strict=True)
        ),
        first_break=found,
        head_seq=head.length,
        head_hash=head.hash.hex(),
        next_cursor=None if found or len(stretch) < limit or reached_end else str(stretch[-1].chain_seq + 1),
    )


def _first(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdecimal() or len(cursor) > 18:
        raise BadRequest("the cursor is not one that an audit gave")
    return max(1, int(cursor))


def _first_break(
    settings: Settings, rows: Sequence[StoredReceipt], first: int, before: StoredReceipt | None
) -> ChainBreak | None:
    if before is None and first > 1:
        return _missing(first - 1)
    previous = chain_hash(body_of(before)) if before else NOTHING_BEFORE
    for expected, row in enumerate(rows, start=first):
        if row.chain_seq != expected:
            return _missing(expected)
        if not columns_agree(row):
            return _at(row, "altered", "the receipt, or a column that it is found by, is not what was written")
        if verify(settings, row).valid is False:
            return _at(row, "signature_mismatch", "the signature does not fit the receipt")
        body = body_of(row)
        if body.get("previous_hash") != previous:
            return _at(row, "chain_mismatch", "the receipt before it is not the one that it was written behind")
        previous = chain_hash(body)
    return None


def _end(rows: Sequence[StoredReceipt], length: int, head_hash: str) -> ChainBreak | None:
    """The chain must end where its head says."""
    last = rows[-1].chain_seq if rows else 0
    if last < length:
        return ChainBreak(
            chain_seq=last + 1, receipt_id=None, reason="cut_off", message=f"receipts up to {length} were written"
        )
    if rows and chain_hash(body_of(rows[-1])) != head_hash:
        return _at(rows[-1], "chain_mismatch", "the head of the chain is another receipt")
    return None


def _missing(seq: int) -> ChainBreak:
    return ChainBreak(chain_seq=seq, receipt_id=None, reason="missing", message="there is no receipt at this place")


def _at(row: StoredReceipt, reason: Reason, message: str) -> ChainBreak:
    return ChainBreak(chain_seq=row.chain_seq, receipt_id=row.receipt_id, reason=reason, message=message)
