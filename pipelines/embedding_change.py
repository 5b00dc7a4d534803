"""Changing the embedding model while the server goes on answering.

    migrate ──▶ begin ──▶ fill (several shards, each a resumable run) ──▶ finish
                 │ recall of the old model                                │ recall of both
                 └ from here on new passages get vectors of both models   └ kept until pruned, for a rollback

Each subject is read with the old model until all of its passages have vectors of the new one, then with the new one:
one update of its row. A rollback is the same update back; the old vectors are still there and were kept complete.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from config.clock import utcnow
from config.errors import Conflict, NotFound
from config.ids import uuid7
from pipelines import audit, embedding_check, embedding_fill
from pipelines.embedding_models import parse_model
from pipelines.failures import PermanentFailure, describe, is_transient
from pipelines.providers.account import BudgetExhausted
from pipelines.services import Embedder, Services
from storage import embedding_changes, new_runs, run_dispatch, runs
from storage.embedding_changes import EmbeddingChange, ModelSubjects
from storage.rows import Run
from storage.transactions import Connection, Pool, operator_transaction

log = structlog.get_logger()

#: Kind of the runs of a change, and their stages.
KIND = "embedding_change"
BEGIN, FILL, FINISH = "begin", "fill", "finish"

#: Who acts where no key was asked for: an operator's shell on the database, and the schedule.
SHELL, SCHEDULE = "cli", "schedule"

#: Runs that fill at the same time.
SHARDS = 4

#: Subjects that a run looks up at once.
SUBJECTS_AT_ONCE = 50

#: Seconds after which a run writes down how far it is.
CHECKPOINT_SECONDS = 1.0

#: Subjects that a rollback changes in one transaction.
ROLLED_BACK_AT_ONCE = 1000

#: Blocks of vectors deleted in one statement.
PRUNED_AT_ONCE = 500

#: Stragglers that the last stage moves at once.
STRAGGLERS = 1000


class ChangeProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A change and what is left of it. Rates are averages since it began, None until something was done.

    `problem` is the last error of a run of it that waits to be tried again, or failed for good.
    """

    change: EmbeddingChange
    passages_total: int
    passages_per_second: float | None
    seconds_left: float | None
    problem: str | None


class EmbeddingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is read with which model.

    `configured_model` is what this process is set up with; a change to it is made by `migrate`, not by a restart.
    """

    configured_model: str | None
    subjects: list[ModelSubjects]
    current: ChangeProgress | None
    history: list[EmbeddingChange]


def status(pool: Pool, *, configured_model: str | None, now: datetime | None = None) -> EmbeddingStatus:
    """How subjects are read, and how far a change is. Reads all of `subjects`."""
    with operator_transaction(pool) as conn:
        counts = embedding_changes.subjects_by_model(conn)
        history = embedding_changes.newest(conn, limit=10)
        problem = embedding_changes.problem_of(conn, history[0].id) if history else None
    live = history[0] if history and history[0].state != "closed" else None
    return EmbeddingStatus(
        configured_model=configured_model,
        subjects=counts,
        current=_progress(live, counts, problem, now or utcnow()) if live else None,
        history=history,
    )


def _progress(
    change: EmbeddingChange, counts: Sequence[ModelSubjects], problem: str | None, now: datetime
) -> ChangeProgress:
    total = sum(count.passages for count in counts)
    seconds = ((change.filled_at or change.rolled_back_at or now) - change.started_at).total_seconds()
    rate = change.passages_done / seconds if change.passages_done and seconds > 0 else None
    left = sum(count.passages for count in counts if count.model != change.target_model)
    return ChangeProgress(
        change=change,
        passages_total=total,
        passages_per_second=round(rate, 1) if rate else None,
        seconds_left=round(left / rate, 1) if rate and change.state == "filling" else None,
        problem=problem if change.state == "filling" else None,
    )


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
        _add_run(conn, change, queue, BEGIN, {})
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


def begin(services: Services, run: Run) -> Run | None:
    """First stage: try the new model, measure the old one, and start the shards."""
    change = _change_of(services, run)
    if change is None:
        return _complete(services, run, {"stopped": True})
    target = _embedder(services, change.target_model)
    target.embed(["ready"])
    before = embedding_check.check(services, str(change.id), models=[change.source_model])
    with operator_transaction(services.pool) as conn:
        embedding_changes.note_recall(conn, change.id, before=before.get(change.source_model))
        if not runs.complete(conn, run, result={}):
            return None
        for shard in range(change.shards):
            params = {"shard": shard, "after": ["", ""]}
            _add_run(conn, change, embedding_fill.queue_of(target), FILL, params)
    return msgspec.structs.replace(run, state="completed")


def fill(services: Services, run: Run) -> Run | None:
    """Move the next subjects of a shard; the run goes on where it was after a crash, a restart or an outage.

    A subject that the model will not take becomes a dead letter of its own, and the others go on.
    """
    change = _change_of(services, run)
    if change is None:
        return _complete(services, run, {"stopped": True})
    embedder = _embedder(services, change.target_model)
    after: tuple[str, str] = tuple(run.params["after"])
    with operator_transaction(services.pool) as conn:
        following = embedding_changes.next_subjects(
            conn, after=after, shard=int(run.params["shard"]), shards=change.shards, limit=SUBJECTS_AT_ONCE
        )
    began = time.monotonic()
    done = made = failed = 0
    for subject in following:
        try:
            made += embedding_fill.fill_subject(services, *subject, embedder, run_id=run.id)
            done += 1
        except BudgetExhausted:
            # A run of its own moves the subject when its tenant may ask again.
            with operator_transaction(services.pool) as conn:
                embedding_fill.schedule(conn, *subject, embedder.model)
        except Exception as ex:
            if is_transient(ex):
                if after == tuple(run.params["after"]):
                    raise
                break
            failed += 1
            with operator_transaction(services.pool) as conn:
                embedding_fill.schedule(conn, *subject, embedder.model, dead=describe(ex))
        after = subject
        if time.monotonic() - began > CHECKPOINT_SECONDS:
            break
    with operator_transaction(services.pool) as conn:
        if following:
            if not runs.begin_again(conn, run, stage=FILL, params={"after": list(after)}):
                return None
            embedding_changes.note_progress(conn, change.id, subjects=done, passages=made, failed=failed)
            return msgspec.structs.replace(run, params=run.params | {"after": list(after)})
        if not runs.complete(conn, run, result={}):
            return None
        if embedding_changes.shard_done(conn, change.id):
            _add_run(conn, change, embedding_fill.queue_of(embedder), FINISH, {})
    return msgspec.structs.replace(run, state="completed")


def finish(services: Services, run: Run) -> Run | None:
    """Last stage: move what came in between, measure both models, and say that it is done."""
    change = _change_of(services, run)
    if change is None:
        return _complete(services, run, {"stopped": True})
    embedder = _embedder(services, change.target_model)
    with operator_transaction(services.pool) as conn:
        stragglers = embedding_changes.subjects_not_read_with(conn, change.target_model, limit=STRAGGLERS)
    for subject in stragglers[: STRAGGLERS if change.subjects_failed < STRAGGLERS else 0]:
        try:
            embedding_fill.fill_subject(services, *subject, embedder, run_id=run.id)
        except Exception as ex:
            if is_transient(ex) and not isinstance(ex, BudgetExhausted):
                raise
            log.warning("subject not moved", subject_id=subject[1], error=type(ex).__name__)
    found = embedding_check.check(services, str(change.id), models=[change.source_model, change.target_model])
    with operator_transaction(services.pool) as conn:
        embedding_changes.note_recall(
            conn, change.id, before=found.get(change.source_model), after=found.get(change.target_model)
        )
        embedding_changes.filled(conn, change.id)
        if not runs.complete(conn, run, result={"recall": found}):
            return None
    return msgspec.structs.replace(run, state="completed")


def _change_of(services: Services, run: Run) -> EmbeddingChange | None:
    """The change that a run belongs to, if it is still wanted."""
    with operator_transaction(services.pool) as conn:
        change = embedding_changes.find(conn, UUID(run.params["change_id"]))
    return change if change is not None and change.state == "filling" else None


def _complete(services: Services, run: Run, result: dict[str, Any]) -> Run | None:
    with operator_transaction(services.pool) as conn:
        if not runs.complete(conn, run, result=result):
            return None
    return msgspec.structs.replace(run, state="completed")


def _embedder(services: Services, model: str) -> Embedder:
    embedder = services.embedder_of(model)
    if embedder is None:
        raise PermanentFailure(f"no embedder for {model}: STATEWAVE_EMBEDDING_PROVIDER is none, or it is unknown here")
    return embedder


def _live(conn: Connection) -> EmbeddingChange:
    found = embedding_changes.newest(conn)
    if not found or found[0].state == "closed":
        raise NotFound("there is no change of the embedding model that is not closed", code="no_embedding_change")
    return found[0]


def _audit(conn: Connection, change: EmbeddingChange, action: str, actor: str, request_id: str | None) -> None:
    models = {"source_model": change.source_model, "target_model": change.target_model}
    target = str(change.id)
    audit.record(conn, actor=actor, action=action, tenant_id=None, target=target, details=models, request_id=request_id)


def _add_run(conn: Connection, change: EmbeddingChange, queue: str, stage: str, params: dict[str, Any]) -> None:
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
