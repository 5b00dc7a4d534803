"""The stages of a change of the embedding model (`pipelines.embedding_change`): begin, fill, finish."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import msgspec
import structlog

from pipelines import embedding_check, embedding_fill
from pipelines.embedding_change import FILL, FINISH, add_run
from pipelines.failures import PermanentFailure, describe, is_transient
from pipelines.providers.account import BudgetExhausted
from pipelines.services import Embedder, Services
from storage import embedding_changes, runs
from storage.embedding_changes import EmbeddingChange
from storage.rows import Run
from storage.transactions import operator_transaction

log = structlog.get_logger()

#: Subjects that a run looks up at once.
SUBJECTS_AT_ONCE = 50

#: Seconds after which a run writes down how far it is.
CHECKPOINT_SECONDS = 1.0

#: Stragglers that the last stage moves at once.
STRAGGLERS = 1000


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
            add_run(conn, change, embedding_fill.queue_of(target), FILL, params)
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
            add_run(conn, change, embedding_fill.queue_of(embedder), FINISH, {})
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
