"""Proving that nothing remains of what was erased: a run shortly after each erasure.

It walks every table that has rows of tenants and every key of Redis (`storage.leftovers`, `storage.redis_leftovers`),
deletes what slipped in, walks again and writes what it found beside the receipt. Until it has run, it alone knows what
the erased subject was called; that is deleted with the run's outputs.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec
import structlog

from config.clock import utcnow
from config.errors import BadRequest, NotFound
from config.ids import uuid7
from pipelines import audit
from pipelines.erasure_receipts import subject_hash
from pipelines.services import Services
from storage import erasures, leftovers, new_runs, redis_leftovers, runs
from storage.erasures import ErasureRow
from storage.leftovers import Target
from storage.redis_leftovers import RedisSweep
from storage.rows import Run
from storage.transactions import Connection, operator_transaction

log = structlog.get_logger()

KIND = "erasure_proof"
QUEUE = "maintenance"
STAGE = "prove"

#: Name under which the run keeps what it has to look for.
_SOUGHT = "sought"

#: After the erasure, so that whatever was under way has ended.
DELAY = timedelta(seconds=2)

#: Erased ids that are looked for; of more, so many at equal distances.
MOST_IDS = 50_000


class Sought(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the sweep looks for: the subject, and erased ids of 16 bytes each."""

    subject_id: str
    ids: bytes
    erased: int


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep found. It names tables, never what was in them."""

    swept_at: str
    #: Rows that were left, by table; of every table that was looked at.
    tables: dict[str, int]
    #: Rows that had slipped in between the erasure and the sweep, by table, and that it deleted.
    removed: dict[str, int]
    redis: RedisSweep | None
    ids_erased: int
    ids_compared: int
    #: Whether a subject of this name has begun anew; then only the ids tell its rows from the erased ones.
    lives_again: bool
    left: int


def order(
    conn: Connection, erasure_id: UUID, *, tenant_id: str, subject_id: str, ids: bytes, request_id: str | None
) -> None:
    """Order the sweep, in the transaction of the erasure.

    Args:
        ids: everything that was erased, 16 bytes each.
    """
    erased = len(ids) // 16
    step = -(-erased // MOST_IDS) or 1
    kept = ids if step == 1 else b"".join(ids[at : at + 16] for at in range(0, len(ids), 16 * step))
    run = new_runs.add(
        conn,
        run_id=uuid7(),
        tenant_id=tenant_id,
        # None: erasing the same subject again must not take the proof of the first time away.
        subject_id=None,
        kind=KIND,
        queue=QUEUE,
        stage=STAGE,
        unique_key=f"{KIND}:{erasure_id}",
        params={"erasure_id": str(erasure_id)},
        request_id=request_id,
        delay=DELAY,
    )
    assert run is not None
    sought = Sought(subject_id=subject_id, ids=kept, erased=erased)
    runs.keep_output(conn, run, _SOUGHT, msgspec.msgpack.encode(sought))


def prove(services: Services, run: Run) -> Run | None:
    """The one stage of the run. None when it was lost to another worker."""
    erasure_id = UUID(run.params["erasure_id"])
    with operator_transaction(services.pool) as conn:
        kept = runs.stage_output(conn, run, _SOUGHT)
        row = erasures.find(conn, erasure_id)
    if kept is None or row is None:
        return None
    proof = _sweep(services, row, msgspec.msgpack.decode(kept, type=Sought))
    with operator_transaction(services.pool) as conn:
        if not runs.complete(conn, run, result={"left": proof.left, "removed": sum(proof.removed.values())}):
            return None
        _record(conn, erasure_id, proof)
    return msgspec.structs.replace(run, state="completed")


def prove_now(
    services: Services,
    erasure_id: UUID,
    *,
    subject_id: str,
    tenant_id: str | None = None,
    by: str,
    request_id: str | None,
) -> ErasureRow:
    """Sweep again for somebody who knows what the subject was called, and write down what was found.

    Args:
        tenant_id: the only tenant whose erasures are seen.

    Raises:
        NotFound: when there is no such erasure.
        BadRequest: when it was another subject that was erased.
    """
    with operator_transaction(services.pool) as conn:
        row = erasures.find(conn, erasure_id)
    if row is None or tenant_id not in (None, row.tenant_id):
        raise NotFound(f"there is no erasure {erasure_id}")
    if subject_hash(row.tenant_id, subject_id) != row.subject_sha256:
        raise BadRequest("this erasure was of another subject")
    proof = _sweep(services, row, Sought(subject_id=subject_id, ids=b"", erased=0))
    with operator_transaction(services.pool) as conn:
        _record(conn, erasure_id, proof)
        audit.record(
            conn,
            actor=by,
            action="erasure.prove",
            tenant_id=row.tenant_id,
            target=str(erasure_id),
            details={"left": proof.left},
            request_id=request_id,
        )
        found = erasures.find(conn, erasure_id)
    assert found is not None
    return found


def _sweep(services: Services, row: ErasureRow, sought: Sought) -> Proof:
    ids = [UUID(bytes=sought.ids[at : at + 16]) for at in range(0, len(sought.ids), 16)]
    target = Target(
        tenant_id=row.tenant_id,
        subject_id=sought.subject_id,
        erased_at=row.erased_at,
        ids=ids,
        whole_subject=row.scope == "subject",
    )
    removed: dict[str, int] = {}
    with operator_transaction(services.pool) as conn:
        alive = not target.whole_subject or leftovers.lives_again(conn, target)
        tables = leftovers.tables(conn)
        left = {table.name: leftovers.count(conn, table, target, alive=alive) for table in tables}
        for table in tables:
            if left[table.name] and (gone := leftovers.remove(conn, table, target, alive=alive)):
                removed[table.name] = gone
        if removed:
            left = {table.name: leftovers.count(conn, table, target, alive=alive) for table in tables}
    redis = None
    if services.settings.redis_url is not None:
        named = None if alive else sought.subject_id
        redis = redis_leftovers.sweep(services.settings.redis_url, subject_id=named, ids=ids)
    return Proof(
        swept_at=utcnow().isoformat(),
        tables=left,
        removed=removed,
        redis=redis,
        ids_erased=sought.erased,
        ids_compared=len(ids),
        lives_again=alive and target.whole_subject,
        left=sum(left.values()) + (redis.left if redis else 0),
    )


def _record(conn: Connection, erasure_id: UUID, proof: Proof) -> None:
    state = "leftovers" if proof.left else "proved"
    erasures.record_proof(conn, erasure_id, state=state, proof=msgspec.json.encode(proof), now=utcnow())
    if proof.left:
        log.error("something remains after an erasure", erasure_id=str(erasure_id), left=proof.left)
