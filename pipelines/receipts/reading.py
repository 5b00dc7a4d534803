"""Reading receipts and checking them one by one (contract: governance §2.9, §2.11, §2.13, §2.14)."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import BadRequest, NotFound
from config.ids import first_ulid
from config.settings import Settings
from pipelines.receipts.canonical import SIGNATURE, Body, canonical_bytes, chain_hash
from pipelines.receipts.signing import Verification, keyring_of
from pipelines.services import Services
from storage import memories, receipts
from storage.receipts import ReceiptFilter, StoredReceipt
from storage.transactions import operator_transaction, tenant_transaction

#: Receipts that one tick hides of a tenant.
TOMBSTONED_AT_ONCE = 5_000

#: New memories that a comparison names.
MOST_NEW = 200


class ReceiptSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt in a few words."""

    receipt_id: str
    as_of: str
    created_at: str
    mode: str
    context_size_bytes: int
    memory_count: int


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What was delivered to whom: a memory, an episode, a caller; all that are named."""

    memory_id: UUID | None = None
    episode_id: UUID | None = None
    caller_id: str | None = None

    def held(self) -> list[bytes] | None:
        """What receipts hold that say so, in their canonical form; within its strings quotes are escaped."""
        held = []
        if self.memory_id is not None:
            # Rules that hid a memory name it as well. What follows its id tells that it was delivered.
            held.append(f'"memory_id":"{self.memory_id}","provenance_hash"'.encode())
        if self.episode_id is not None:
            held.append(f'"episode_id":"{self.episode_id}"'.encode())
        if self.caller_id is not None:
            held.append(b'"caller_id":' + canonical_bytes(self.caller_id))
        return held or None


EVERYTHING = Delivered()


def list_receipts(
    services: Services,
    tenant_id: str,
    *,
    subject_id: str,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
    limit: int,
    include_tombstoned: bool,
    delivered: Delivered = EVERYTHING,
) -> tuple[list[Body], str | None]:
    """One page of a subject's receipts, newest first, and the cursor of the next; None at the end."""
    which = _filter(subject_id, tenant_id, since, until, cursor, delivered, include_tombstoned=include_tombstoned)
    with tenant_transaction(services.pool, tenant_id) as conn:
        rows = receipts.page(conn, which, limit=limit + 1)
    return [with_status(row) for row in rows[:limit]], _next_cursor(rows, limit)


def admin_list(
    services: Services,
    *,
    tenant_id: str | None,
    subject_id: str | None,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
    limit: int,
    delivered: Delivered = EVERYTHING,
) -> tuple[list[Body], str | None]:
    """One page for operators, hidden ones included.

    Raises:
        BadRequest: when neither a tenant nor a subject is named.
    """
    if tenant_id is None and subject_id is None:
        raise BadRequest("name a subject_id or a tenant_id: receipts are not listed for the whole server")
    which = _filter(subject_id, tenant_id, since, until, cursor, delivered, include_tombstoned=True)
    with operator_transaction(services.pool) as conn:
        rows = receipts.page(conn, which, limit=limit + 1)
    return [body_of(row) for row in rows[:limit]], _next_cursor(rows, limit)


def find(services: Services, tenant_id: str, receipt_id: str) -> StoredReceipt:
    """A tenant's receipt.

    Raises:
        NotFound: when the tenant has none of this id; whether another has makes no difference.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        row = receipts.find(conn, tenant_id, receipt_id)
    if row is None:
        raise NotFound("there is no such receipt")
    return row


def find_anywhere(services: Services, receipt_id: str) -> StoredReceipt:
    """A receipt of any tenant, for operators.

    Raises:
        NotFound: when there is none.
    """
    with operator_transaction(services.pool, everywhere=True) as conn:
        row = receipts.find(conn, None, receipt_id)
    if row is None:
        raise NotFound("there is no such receipt")
    return row


def body_of(row: StoredReceipt) -> Body:
    """The receipt as it was written, signature included. One whose bytes are damaged shows what its columns say."""
    body = _parsed(row.canonical)
    if body is None:
        body = {"receipt_id": row.receipt_id, "subject_id": row.subject_id, "mode": row.mode, "damaged": True}
    return {**body, SIGNATURE: row.signature}


def with_status(row: StoredReceipt) -> Body:
    """The receipt with what reading adds to it."""
    added: Body = {"status": "tombstoned" if row.tombstoned_at else "active"}
    if row.tombstoned_at:
        added["tombstoned_at"] = row.tombstoned_at.isoformat()
    return {**body_of(row), **added}


def verify(settings: Settings, row: StoredReceipt) -> Verification:
    """Check a stored receipt: its signature over the bytes that are stored, and that its columns say what it says."""
    checked = keyring_of(settings).verify(
        row.canonical, signature=row.signature, key_id=row.key_id, algorithm=row.algorithm
    )
    if row.signature is not None and not columns_agree(row):
        return Verification(valid=False, key_id=row.key_id, algorithm=row.algorithm, reason="signature_mismatch")
    return checked


def columns_agree(row: StoredReceipt) -> bool:
    """Whether the columns that a receipt is found by say what its body says, and its hash is that of its body."""
    body = _parsed(row.canonical)
    if body is None:
        return False
    columns = {
        "receipt_id": row.receipt_id,
        "tenant_id": row.tenant_id or None,
        "subject_id": row.subject_id,
        "mode": row.mode,
        "chain_seq": row.chain_seq,
        "created_at": row.created_at.isoformat(),
        "receipt_signature_key_id": row.key_id,
        "receipt_signature_algorithm": row.algorithm,
    }
    if any(body.get(name) != value for name, value in columns.items()):
        return False
    return chain_hash({**body, SIGNATURE: row.signature}) == row.chain_hash.hex()


def tombstone_expired(services: Services) -> int:
    """Hide receipts that are past their tenant's retention. They stay readable by their id.

    Returns:
        How many.
    """
    now = utcnow()
    with operator_transaction(services.pool) as conn:
        hidden = 0
        for tenant_id, days in receipts.retained(conn):
            hidden += receipts.tombstone(
                conn, tenant_id, older_than=timedelta(days=days), now=now, limit=TOMBSTONED_AT_ONCE
            )
    return hidden


def summaries(
    services: Services, tenant_id: str, subject_id: str, *, limit: int, offset: int
) -> tuple[list[ReceiptSummary], int]:
    """One page of a subject's receipts in a few words, newest first, and how many there are."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        rows = receipts.page(
            conn,
            ReceiptFilter(tenant_id=tenant_id, subject_id=subject_id, include_tombstoned=True),
            limit=limit,
            offset=offset,
        )
        total = receipts.count(conn, tenant_id, subject_id)
    return [_summary(row) for row in rows], total


def find_of_subject(services: Services, tenant_id: str, subject_id: str, receipt_id: str) -> StoredReceipt:
    """A receipt of a subject.

    Raises:
        NotFound: when the subject has none of this id.
    """
    row = find(services, tenant_id, receipt_id)
    if row.subject_id != subject_id:
        raise NotFound("there is no such receipt")
    return row


def regression(services: Services, tenant_id: str, subject_id: str, row: StoredReceipt) -> dict[str, Any]:
    """What became of the memories that a receipt names, and which came after it."""
    body = body_of(row)
    entries = [entry for entry in body.get("selected_entries", []) if entry.get("type") == "memory"]
    with tenant_transaction(services.pool, tenant_id) as conn:
        stored = memories.memories_by_ids(conn, tenant_id, subject_id, [UUID(entry["memory_id"]) for entry in entries])
        newest = memories.newest_memories(conn, tenant_id, subject_id, kind=None, limit=MOST_NEW)
    compared = []
    for entry in entries:
        memory = stored.get(UUID(entry["memory_id"]))
        change = _change(memory.status if memory else None)
        compared.append({"memory_id": entry["memory_id"], "kind": entry["kind"], "change": change})
    return {
        "receipt_id": row.receipt_id,
        "receipt_as_of": body.get("as_of"),
        "stable": [item for item in compared if item["change"] == "stable"],
        "dropped": [item for item in compared if item["change"] != "stable"],
        "new_memories": [
            {"memory_id": str(memory.id), "kind": memory.kind, "change": "new"}
            for memory in newest
            if memory.created_at > row.created_at
        ],
    }


def _summary(row: StoredReceipt) -> ReceiptSummary:
    body = body_of(row)
    return ReceiptSummary(
        receipt_id=row.receipt_id,
        as_of=str(body.get("as_of", "")),
        created_at=row.created_at.isoformat(),
        mode=row.mode,
        context_size_bytes=int(body.get("output", {}).get("context_size_bytes", 0)),
        memory_count=sum(entry.get("type") == "memory" for entry in body.get("selected_entries", [])),
    )


def _change(status: str | None) -> str:
    return {"active": "stable", None: "deleted"}.get(status, str(status))


def _filter(
    subject_id: str | None,
    tenant_id: str | None,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
    delivered: Delivered,
    *,
    include_tombstoned: bool,
) -> ReceiptFilter:
    return ReceiptFilter(
        tenant_id=tenant_id,
        subject_id=subject_id,
        since=since,
        until=until,
        from_id=first_ulid(since) if since else None,
        before=cursor,
        holding=delivered.held(),
        include_tombstoned=include_tombstoned,
    )


def _next_cursor(rows: list[StoredReceipt], limit: int) -> str | None:
    return rows[limit - 1].receipt_id if len(rows) > limit else None


def _parsed(canonical: bytes) -> Body | None:
    try:
        body = json.loads(canonical)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
