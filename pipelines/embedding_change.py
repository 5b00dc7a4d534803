"""Changing the embedding model while the server goes on answering.

    migrate ──▶ begin ──▶ fill (several shards, each a resumable run) ──▶ finish
                 │ recall of the old model                                │ recall of both
                 └ from here on new passages get vectors of both models   └ kept until pruned, for a rollback

Each subject is read with the old model until all of its passages have vectors of the new one, then with the new one:
one update of its row. A rollback is the same update back; the old vectors are still there and were kept complete.

Here is what operators ask for. The stages are in `pipelines.embedding_stages`, how far they are tells
`pipelines.embedding_status`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from config.errors import Conflict, NotFound
from config.ids import uuid7
from pipelines import audit, embedding_fill
from pipelines.embedding_models import parse_model
from pipelines.services import Services
from storage import embedding_changes, new_runs, run_dispatch
from storage.embedding_changes import EmbeddingChange
from storage.transactions import Connection, Pool, operator_transaction

log = structlog.get_logger()

#: Kind of the runs of a change, and their stages.
KIND = "embedding_change"
BEGIN, FILL, FINISH = "begin", "fill", "finish"

#: Who acts where no key was asked for: an operator's shell on the database, and the schedule.
SHELL, SCHEDULE = "cli", "schedule"

#: Runs that fill at the same time.
SHARDS = 4

#: Subjects that a rollback changes in one transaction.
ROLLED_BACK_AT_ONCE = 1000

#: Blocks of vectors deleted in one statement.
PRUNED_AT_ONCE = 500


def begin_change(
    pool: Pool, *, target: str, source: str | None = None, actor: str = SHELL, request_id: str | None = None
) -> EmbeddingChange:
    """Begin to move all subjects to the model `target`.

    Args:
        source: what they are read with now; None for what most are.
        actor: who asks, for the audit log.

    Raises:
        BadRequest: when a name is not that of a model.
        Conflict: while another change is not closed, or when every subject is read with the target already.
    """
    queue = embedding_fill.queue_of_model(str(parse_model(target)))
    with operator_transaction(pool) as conn:
        counts = embedding_changes.subjects_by_model(conn)
        others = [count.model for count in counts if count.model not in (None, target)]
        if not others and not any(count.model is None for count in counts):
            raise Conflict(f"every subject is read with {target} already", code="nothing_to_change")
        change = embedding_changes.begin(
            conn, uuid7(), source=source or (others[0] if others else "none") or "none", target=target, shards=SHARDS
        )
        if change is None:
            live = embedding_changes.newest(conn)[0]
            raise Conflict(
                f"the change from {live.source_model} to {live.target_model} is {live.state}: delete the vectors of"
                " the model that is not read any more (`statewave embeddings prune`) first",
                code="change_not_closed",
            )
        add_run(conn, change, queue, BEGIN, {})
        _audit(conn, change, "embeddings.migrate", actor, request_id)
    return change


def roll_back(pool: Pool, *, actor: str = SHELL, request_id: str | None = None) -> EmbeddingChange:
    """Have every subject read with the former model again, and stop the fill.

    Raises:
        NotFound: when there is no change whose old vectors are kept.
    """
    with operator_transaction(pool) as conn:
        change = _live(conn)
        embedding_changes.roll_back(conn, change.id)
        _audit(conn, change, "embeddings.rollback", actor, request_id)
    after, changed = ("", ""), 0
    while after is not None:
        with operator_transaction(pool) as conn:
            last, count = embedding_changes.read_again(
                conn, model=change.source_model, other=change.target_model, after=after, limit=ROLLED_BACK_AT_ONCE
            )
            changed += count
        if last is None:
            break
        after = last
    log.info("embedding change rolled back", change_id=str(change.id), subjects=changed)
    with operator_transaction(pool) as conn:
        return embedding_changes.find(conn, change.id) or change


def prune(pool: Pool, *, actor: str = SHELL, request_id: str | None = None) -> int:
    """Delete the vectors of the model that is not read any more, and close the change: no rollback after this.

    Returns:
        How many blocks of vectors were deleted.

    Raises:
        NotFound: when there is nothing to prune.
        Conflict: while subjects are still being moved.
    """
    with operator_transaction(pool) as conn:
        change = _live(conn)
    if change.state == "filling":
        raise Conflict("subjects are still being moved: wait, or roll back", code="change_under_way")
    return _prune(pool, change, actor, request_id)


def prune_old(services: Services) -> int:
    """Prune what was kept for `STATEWAVE_EMBEDDING_KEEP_DAYS`."""
    days = services.settings.embedding_keep_days
    if days == 0:
        return 0
    with operator_transaction(services.pool) as conn:
        due = embedding_changes.due_for_pruning(conn, kept=timedelta(days=days))
    return sum(_prune(services.pool, change, SCHEDULE, None) for change in due)


def _prune(pool: Pool, change: EmbeddingChange, actor: str, request_id: str | None) -> int:
    with operator_transaction(pool) as conn:
        # From here on nobody writes vectors of it any more.
        embedding_changes.close(conn, change.id)
        _audit(conn, change, "embeddings.prune", actor, request_id)
    deleted = 0
    while True:
        with operator_transaction(pool) as conn:
            count = embedding_changes.prune(conn, change.unread_model, limit=PRUNED_AT_ONCE)
        deleted += count
        if count < PRUNED_AT_ONCE:
            return deleted


def _live(conn: Connection) -> EmbeddingChange:
    found = embedding_changes.newest(conn)
    if not found or found[0].state == "closed":
        raise NotFound("there is no change of the embedding model that is not closed", code="no_embedding_change")
    return found[0]


def _audit(conn: Connection, change: EmbeddingChange, action: str, actor: str, request_id: str | None) -> None:
    models = {"source_model": change.source_model, "target_model": change.target_model}
    target = str(change.id)
    audit.record(conn, actor=actor, action=action, tenant_id=None, target=target, details=models, request_id=request_id)


def add_run(conn: Connection, change: EmbeddingChange, queue: str, stage: str, params: dict[str, Any]) -> None:
    """Write a run of the change."""
    new_runs.add(
        conn,
        run_id=uuid7(),
        tenant_id="",
        subject_id=None,
        kind=KIND,
        queue=queue,
        stage=stage,
        unique_key=f"embedding-change:{change.id}:{stage}:{params.get('shard', '')}",
        params={"change_id": str(change.id), **params},
    )
    run_dispatch.announce(conn, queue)
