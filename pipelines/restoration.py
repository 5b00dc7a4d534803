"""Taking a supersession back: an operator makes a memory active again that rules or a model took out of use."""

from __future__ import annotations

from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import Conflict, NotFound
from pipelines import audit
from storage import memories, passages, restorations, subjects
from storage.memories import Supersession
from storage.rows import Memory
from storage.transactions import Pool, tenant_transaction

_encode = msgspec.json.Encoder().encode

#: Reason recorded with a memory that an operator superseded.
BY_OPERATOR = "operator"


def restore_memory(
    pool: Pool,
    tenant_id: str,
    subject_id: str,
    memory_id: str,
    *,
    instead: bool,
    actor: str,
    request_id: str | None = None,
) -> Memory:
    """Make a superseded memory active again, with the end of validity it had before. The audit log says who did it.

    Args:
        instead: whether the memory that took its place is superseded in turn. Otherwise both are active.

    Raises:
        NotFound: when the subject has no such memory.
        Conflict: when it is not superseded, or was never anything else (history that was told late).
    """
    try:
        wanted = UUID(memory_id)
    except ValueError:
        raise NotFound(f"the subject has no memory {memory_id}") from None
    now = utcnow()
    with tenant_transaction(pool, tenant_id) as conn:
        # The subject first, as whoever publishes does.
        subjects.progress(conn, tenant_id, subject_id, lock=True)
        found = restorations.lock_superseded(conn, tenant_id, subject_id, wanted)
        if found is None:
            raise NotFound(f"the subject has no memory {memory_id}")
        if found.status != "superseded":
            raise Conflict(f"memory {memory_id} is not superseded, it is {found.status}")
        if not found.was_active:
            raise Conflict(f"memory {memory_id} was never active: it was over when it became known")
        restored = restorations.restore(
            conn, tenant_id, wanted, valid_to=found.valid_to, record=_encode({"by": actor, "at": now}), now=now
        )
        assert restored is not None  # It is locked.
        ends = {wanted: found.valid_to}
        if instead and found.superseded_by is not None:
            record = _encode({"reason": BY_OPERATOR, "score": None, "claim_key": None})
            end = Supersession(loser=found.superseded_by, winner=wanted, valid_to=now, record=record)
            memories.supersede(conn, tenant_id, [end], now=now)
            ends[found.superseded_by] = now
        passages.end_passages(conn, tenant_id, subject_id, ends)
        audit.record(
            conn,
            actor=actor,
            action="memory.restore",
            tenant_id=tenant_id,
            target=memory_id,
            details={"instead_of": found.superseded_by if instead else None},
            request_id=request_id,
        )
    return restored
