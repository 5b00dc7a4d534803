"""Erasing again what a restored dump of the database brought back.

A dump is as old as its ledger. Whoever keeps the ledger apart from it (one receipt per line) has every erasure entered
again and done again; rows recorded after an erasure are none of its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

import msgspec

from config.errors import BadRequest, NotFound
from pipelines.erasure import Asked, erase_memory, erase_subject
from pipelines.erasure_receipts import item_hash, subject_hash, verify
from pipelines.receipts.signing import Keyring
from pipelines.services import Services
from storage import erasures, memory_erasure, portability
from storage.erasures import ErasureRow, Scope
from storage.transactions import operator_transaction

#: Receipts that one statement reads.
PAGE = 500


class Reapplied(msgspec.Struct, kw_only=True):
    """What entering a ledger again did."""

    receipts: int = 0
    #: Of which the ledger here did not know.
    entered: int = 0
    subjects_erased: int = 0
    memories_erased: int = 0
    #: Erasures whose subject has begun anew since, so that a person must decide.
    undecided: list[UUID] = []


class _Receipt(msgspec.Struct, frozen=True):
    """What has to be known of a receipt to do it again."""

    erasure_id: UUID
    tenant_id: str
    scope: Scope
    subject_sha256: str
    item_sha256: list[str]
    erased_at: datetime


def export_ledger(services: Services) -> Iterator[bytes]:
    """Every receipt of the ledger, newest first, one per line."""
    before: UUID | None = None
    while True:
        with operator_transaction(services.pool) as conn:
            page = erasures.page(conn, tenant_id=None, subject_sha256=None, state=None, before=before, limit=PAGE)
        for row in page:
            yield bytes(row.receipt) + b"\n"
        if len(page) < PAGE:
            return
        before = page[-1].id


def reapply(services: Services, lines: Iterable[bytes], *, by: str) -> Reapplied:
    """Enter the receipts that the ledger lacks, and erase what they say was erased. Doing it twice does no harm.

    Raises:
        BadRequest: for a line that is no receipt, or one whose signature does not match.
    """
    done = Reapplied()
    subjects: dict[str, dict[str, str]] = {}
    keyring = Keyring.of(services.settings)
    for number, line in enumerate(filter(bytes.strip, lines), 1):
        receipt = _read(line, number, keyring)
        done.receipts += 1
        done.entered += _enter(services, receipt, line.strip())
        if receipt.tenant_id not in subjects:
            subjects[receipt.tenant_id] = _by_hash(services, receipt.tenant_id)
        subject_id = subjects[receipt.tenant_id].get(receipt.subject_sha256)
        if subject_id is not None:
            _erase_again(services, receipt, subject_id, Asked(by=by, reason=_reason(receipt)), done)
    return done


def _read(line: bytes, number: int, keyring: Keyring) -> _Receipt:
    try:
        receipt = msgspec.json.decode(line, type=_Receipt)
        row = _row(receipt, line)
        verdict = verify(row, keyring)
    except (msgspec.DecodeError, ValueError) as ex:
        raise BadRequest(f"line {number} is no receipt of an erasure: {ex}") from None
    if verdict.valid is False or not verdict.matches_ledger:
        raise BadRequest(f"line {number}: the receipt was changed since it was signed")
    return receipt


def _row(receipt: _Receipt, line: bytes) -> ErasureRow:
    return ErasureRow(
        id=receipt.erasure_id,
        tenant_id=receipt.tenant_id,
        scope=receipt.scope,
        subject_sha256=bytes.fromhex(receipt.subject_sha256),
        erased_at=receipt.erased_at,
        receipt=msgspec.Raw(line),
        state="unproved",
        proof=None,
        proved_at=None,
    )


def _enter(services: Services, receipt: _Receipt, line: bytes) -> bool:
    with operator_transaction(services.pool) as conn:
        if erasures.find(conn, receipt.erasure_id) is not None:
            return False
        erasures.insert(
            conn,
            receipt.erasure_id,
            tenant_id=receipt.tenant_id,
            scope=receipt.scope,
            subject_sha256=bytes.fromhex(receipt.subject_sha256),
            erased_at=receipt.erased_at,
            receipt=line,
            item_hashes=[bytes.fromhex(item) for item in receipt.item_sha256],
        )
    return True


def _by_hash(services: Services, tenant_id: str) -> dict[str, str]:
    """The tenant's subjects by the hash that receipts name them with."""
    with operator_transaction(services.pool) as conn:
        return {subject_hash(tenant_id, id).hex(): id for id in portability.subject_ids(conn, tenant_id)}


def _erase_again(services: Services, receipt: _Receipt, subject_id: str, asked: Asked, done: Reapplied) -> None:
    if receipt.scope == "memory":
        done.memories_erased += _erase_items(services, receipt, subject_id, asked)
        return
    with operator_transaction(services.pool) as conn:
        newest = portability.recorded_until(conn, receipt.tenant_id, subject_id)
    if newest is not None and newest > receipt.erased_at:
        done.undecided.append(receipt.erasure_id)
    elif erase_subject(services, receipt.tenant_id, subject_id, asked=asked).erasure_id is not None:
        done.subjects_erased += 1


def _erase_items(services: Services, receipt: _Receipt, subject_id: str, asked: Asked) -> int:
    with operator_transaction(services.pool) as conn:
        memories, episodes = memory_erasure.ids_of(conn, receipt.tenant_id, subject_id)
    erased = {bytes.fromhex(item) for item in receipt.item_sha256}
    with_episodes = any(item_hash(receipt.tenant_id, id) in erased for id in episodes)
    count = 0
    for memory_id in memories:
        if item_hash(receipt.tenant_id, memory_id) in erased:
            try:
                done = erase_memory(
                    services, memory_id, tenant_id=receipt.tenant_id, with_episodes=with_episodes, asked=asked
                )
            except NotFound:
                continue  # It went with one before it.
            count += done.memories
    return count


def _reason(receipt: _Receipt) -> str:
    return f"restored from a backup after erasure {receipt.erasure_id}"
