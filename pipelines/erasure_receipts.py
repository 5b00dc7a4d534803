"""Receipts of erasures: who erased what, when and why, in hashes and counts, signed like every other receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from pipelines.receipts.canonical import SIGNATURE, canonical_bytes, signed_bytes
from pipelines.receipts.signing import Keyring, Verification
from storage.erasures import ErasureRow

VERSION = 1

#: What stays after an erasure, and why (docs/erasure.md). It is named in each receipt.
KEPT = {
    "receipts": "prove what was delivered; they hold ids, hashes and the task that was asked",
    "audit_log": "says which operator erased; it holds the id of the erasure",
    "webhook_deliveries": "the message subject.deleted, until it is purged",
}


class ErasureVerification(msgspec.Struct, frozen=True, kw_only=True):
    """What the signature of an erasure receipt is worth, and whether the ledger says the same as the receipt."""

    valid: bool | None
    key_id: str | None
    algorithm: str | None
    reason: str
    matches_ledger: bool


def subject_hash(tenant_id: str, subject_id: str) -> bytes:
    """SHA-256 of the JSON list [tenant id, subject id] in canonical form: anybody who knows both can recompute it."""
    return sha256(canonical_bytes([tenant_id, subject_id])).digest()


def item_hash(tenant_id: str, item_id: UUID) -> bytes:
    """SHA-256 of the JSON list [tenant id, id of the memory or episode] in canonical form."""
    return sha256(canonical_bytes([tenant_id, str(item_id)])).digest()


def body_of(
    erasure_id: UUID,
    *,
    tenant_id: str,
    subject_id: str,
    scope: str,
    erased_at: datetime,
    erased_by: str,
    reason: str,
    request_id: str | None,
    counts: Mapping[str, int],
    episode_ids: bytes,
    memory_ids: bytes,
    items: Sequence[bytes] = (),
    part_of: UUID | None = None,
) -> dict[str, Any]:
    """The receipt, not signed yet.

    Args:
        episode_ids: ids that were erased, sorted, 16 bytes each. The receipt holds one hash over all of them, so that
            a list of ids can be compared with it.
        items: hashes of what was erased one by one.
        part_of: what the receipts of one deletion by filter share.
    """
    return {
        "type": "erasure",
        "version": VERSION,
        "erasure_id": str(erasure_id),
        "part_of": str(part_of) if part_of else None,
        "scope": scope,
        "tenant_id": tenant_id,
        "subject_sha256": subject_hash(tenant_id, subject_id).hex(),
        "item_sha256": sorted(item.hex() for item in items),
        "episode_ids_sha256": sha256(episode_ids).hexdigest(),
        "memory_ids_sha256": sha256(memory_ids).hexdigest(),
        "erased_at": erased_at.isoformat(),
        "erased_by": erased_by,
        "reason": reason,
        "request_id": request_id,
        "counts": {table: number for table, number in counts.items() if number},
        "kept": KEPT,
    }


def signed(body: Mapping[str, Any], keyring: Keyring, *, preferred_key: str | None) -> bytes:
    """The receipt as it is stored: its canonical form with a signature, or with null where there is no key.

    The tenant's key signs. Without one the newest key of the process does, by its name, an Ed25519 key if there is
    one: an erasure is worth a signature whatever the tenant chose for its other receipts.
    """
    key_id = _key(keyring, preferred_key)
    if key_id is None:
        return canonical_bytes({**body, SIGNATURE: None})
    complete = {**body, f"{SIGNATURE}_key_id": key_id, f"{SIGNATURE}_algorithm": keyring.algorithm_of(key_id)}
    return canonical_bytes({**complete, SIGNATURE: keyring.sign(signed_bytes(complete), key_id)})


def verify(row: ErasureRow, keyring: Keyring) -> ErasureVerification:
    """Check the signature, and that the ledger's columns say what the receipt says."""
    body = msgspec.json.decode(row.receipt)
    verdict: Verification = keyring.verify(
        signed_bytes(body),
        signature=body.get(SIGNATURE),
        key_id=body.get(f"{SIGNATURE}_key_id"),
        algorithm=body.get(f"{SIGNATURE}_algorithm"),
    )
    ledger = (str(row.id), row.tenant_id, row.scope, row.subject_sha256.hex(), row.erased_at.isoformat())
    receipt = tuple(body.get(key) for key in ("erasure_id", "tenant_id", "scope", "subject_sha256", "erased_at"))
    return ErasureVerification(
        valid=verdict.valid,
        key_id=verdict.key_id,
        algorithm=verdict.algorithm,
        reason=verdict.reason,
        matches_ledger=ledger == receipt,
    )


def _key(keyring: Keyring, preferred: str | None) -> str | None:
    if preferred is not None and keyring.algorithm_of(preferred) is not None:
        return preferred
    return max(keyring.ed25519, default=None) or max(keyring.hmac, default=None)
