"""Erasing a subject, or one memory: every row of it, in one transaction, with an entry in the ledger of erasures.

A sweep follows each erasure shortly and proves that nothing remains (`pipelines.erasure_proof`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog
from psycopg.errors import DeadlockDetected

from config.errors import NotFound
from config.ids import uuid7
from config.settings import Settings
from pipelines import audit, erasure_proof, webhook_events
from pipelines.erasure_receipts import body_of, item_hash, signed, subject_hash
from pipelines.receipts.signing import Keyring
from pipelines.services import Services
from pipelines.tenant_config import tenant_config
from storage import erasures, health_states, memory_erasure, subjects
from storage.transactions import Connection, operator_transaction, tenant_transaction

log = structlog.get_logger()

#: Who erased, where nobody in particular asked.
SERVER = "server"

#: Times that an erasure begins again because another transaction wanted the same rows in another order.
DEADLOCK_RETRIES = 3

_Result = TypeVar("_Result")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for an erasure, and why. What it says is in the receipt for ever."""

    by: str = SERVER
    reason: str = ""
    request_id: str | None = None
    #: Shared by the receipts of one deletion by filter.
    part_of: UUID | None = None


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did; without an id when nothing was there."""

    erasure_id: UUID | None
    tenant_id: str
    subject_id: str
    episodes: int
    memories: int


def erase_subject(
    services: Services,
    tenant_id: str,
    subject_id: str,
    *,
    asked: Asked = Asked(),  # noqa: B008 - immutable
) -> Erasure:
    """Delete everything stored of the subject, in one transaction, and tell webhooks.

    A compilation that is under way loses its run with it and cannot publish. An unknown subject leaves no trace.
    """
    return _again_after_deadlock(lambda: _erase_subject(services, tenant_id, subject_id, asked))


def _erase_subject(services: Services, tenant_id: str, subject_id: str, asked: Asked) -> Erasure:
    with tenant_transaction(services.pool, tenant_id) as conn:
        rows = subjects.erase(conn, tenant_id, subject_id)
        episodes, memories = rows.counts["episodes"], rows.counts["memories"]
        erasure_id = None
        if any(rows.counts.values()):
            erasure_id = _enter(
                conn,
                services.settings,
                tenant_id,
                subject_id,
                asked,
                scope="subject",
                erased_at=rows.erased_at,
                counts=rows.counts,
                episode_ids=rows.episode_ids,
                memory_ids=rows.memory_ids,
            )
        webhook_events.subject_deleted(
            conn,
            services.settings,
            tenant_id,
            subject_id,
            episodes_deleted=episodes,
            memories_deleted=memories,
            request_id=asked.request_id,
        )
    return Erasure(
        erasure_id=erasure_id, tenant_id=tenant_id, subject_id=subject_id, episodes=episodes, memories=memories
    )


def erase_memory(
    services: Services,
    memory_id: UUID,
    *,
    tenant_id: str | None,
    with_episodes: bool = False,
    asked: Asked,
    admit: Callable[[str], None] = lambda tenant_id: None,
) -> Erasure:
    """Delete one memory with its versions, its passages and what was made from it.

    Args:
        tenant_id: whose memory it is; None to find it.
        with_episodes: whether the episodes it was taken from go as well, and with them every memory that was taken
            from one of these episodes.
        admit: raises for a tenant that is not to be served here.

    Raises:
        NotFound: when there is no such memory.
    """
    with operator_transaction(services.pool, everywhere=True) as conn:
        place = memory_erasure.find_place(conn, memory_id)
    if place is None or (tenant_id is not None and place.tenant_id != tenant_id):
        raise NotFound(f"there is no memory {memory_id}")
    admit(place.tenant_id)
    return _again_after_deadlock(
        lambda: _erase_memory(services, place.tenant_id, place.subject_id, memory_id, with_episodes, asked)
    )


def _erase_memory(
    services: Services, tenant_id: str, subject_id: str, memory_id: UUID, with_episodes: bool, asked: Asked
) -> Erasure:
    with tenant_transaction(services.pool, tenant_id) as conn:
        erased_at = memory_erasure.lock_subject(conn, tenant_id, subject_id)
        # Read again: it may have been erased with its subject, or folded with others, before the lock was had.
        place = memory_erasure.find_place(conn, memory_id)
        if erased_at is None or place is None:
            raise NotFound(f"there is no memory {memory_id}")
        episodes = place.source_episode_ids if with_episodes else []
        memories = _with_what_derives(conn, tenant_id, subject_id, memory_id, episodes)
        counts = memory_erasure.erase_memories(conn, tenant_id, subject_id, memories)
        if episodes:
            counts = _sum(counts, memory_erasure.erase_episodes(conn, tenant_id, subject_id, episodes))
            health_states.schedule(conn, tenant_id, [subject_id], run_after=erased_at + health_states.QUIET)
        erasure_id = _enter(
            conn,
            services.settings,
            tenant_id,
            subject_id,
            asked,
            scope="memory",
            erased_at=erased_at,
            counts=counts,
            episode_ids=_joined(episodes),
            memory_ids=_joined(memories),
            items=[item_hash(tenant_id, id) for id in (*memories, *episodes)],
        )
    return Erasure(
        erasure_id=erasure_id,
        tenant_id=tenant_id,
        subject_id=subject_id,
        episodes=counts.get("episodes", 0),
        memories=counts["memories"],
    )


def _with_what_derives(
    conn: Connection, tenant_id: str, subject_id: str, memory_id: UUID, episodes: Sequence[UUID]
) -> list[UUID]:
    """The memory, those that were taken from the episodes, and those that were made from any of these."""
    found = [memory_id]
    if episodes:
        found += memory_erasure.citing(conn, tenant_id, subject_id, episodes)
    while True:
        further = memory_erasure.made_from(conn, tenant_id, subject_id, found)
        if not further:
            return sorted(set(found))
        found += further


def _enter(
    conn: Connection,
    settings: Settings,
    tenant_id: str,
    subject_id: str,
    asked: Asked,
    *,
    scope: str,
    erased_at: datetime,
    counts: Mapping[str, int],
    episode_ids: bytes,
    memory_ids: bytes,
    items: Sequence[bytes] = (),
) -> UUID:
    """Write the receipt into the ledger and the operator into the audit log, and order the proof."""
    erasure_id = uuid7()
    body = body_of(
        erasure_id,
        tenant_id=tenant_id,
        subject_id=subject_id,
        scope=scope,
        erased_at=erased_at,
        erased_by=asked.by,
        reason=asked.reason,
        request_id=asked.request_id,
        counts=counts,
        episode_ids=episode_ids,
        memory_ids=memory_ids,
        items=items,
        part_of=asked.part_of,
    )
    preferred = tenant_config(conn, tenant_id).receipt_signing_key_id
    erasures.insert(
        conn,
        erasure_id,
        tenant_id=tenant_id,
        scope=scope,
        subject_sha256=subject_hash(tenant_id, subject_id),
        erased_at=erased_at,
        receipt=signed(body, Keyring.of(settings), preferred_key=preferred),
        item_hashes=items,
    )
    details: dict[str, Any] = {"scope": scope, "counts": body["counts"]}
    audit.record(
        conn,
        actor=asked.by,
        action=f"{scope}.erase",
        tenant_id=tenant_id,
        # APPSEC: the log is never erased, so it names the erasure and not the subject.
        target=str(erasure_id),
        details=details,
        request_id=asked.request_id,
    )
    erasure_proof.order(
        conn,
        erasure_id,
        tenant_id=tenant_id,
        subject_id=subject_id,
        ids=episode_ids + memory_ids,
        request_id=asked.request_id,
    )
    log.info("erased", erasure_id=str(erasure_id), tenant_id=tenant_id, scope=scope, **body["counts"])
    return erasure_id


def _again_after_deadlock(erase: Callable[[], _Result]) -> _Result:
    for _ in range(DEADLOCK_RETRIES):
        try:
            return erase()
        except DeadlockDetected:
            log.info("erasure begins again after a deadlock")
    return erase()


def _joined(ids: Sequence[UUID]) -> bytes:
    return b"".join(sorted(id.bytes for id in ids))


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {table: one.get(table, 0) + other.get(table, 0) for table in {**one, **other}}
