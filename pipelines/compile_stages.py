"""The stages of a compile run: compile → label → embed → publish; with a model, reconcile before publish.

A stage reads what the former one kept, works, and keeps its own result in the same transaction that opens the next
stage (`storage.runs.advance`). Nothing is visible to readers until `publish` writes all of it at once. Each stage
commits only while its run still carries the fence it was claimed with, so any of them may be killed, repeated or
run twice at the same time without a trace.
"""

from __future__ import annotations

import msgspec

from config.clock import utcnow
from pipelines import compile_runs, poison, publication, reconcile_stage
from pipelines.compile_runs import COMPILE
from pipelines.compilers import draft_waiting
from pipelines.drafting import Drafts, Waiting, load_waiting
from pipelines.embedding import EmbeddedPassages, embed_waiting
from pipelines.failures import PermanentFailure
from pipelines.labels.suggesting import label_drafts
from pipelines.services import Services
from pipelines.verdicts import Verdict
from storage import runs, subjects
from storage.episodes import uncompiled_episodes
from storage.rows import Run
from storage.transactions import tenant_transaction

LABEL = "label"
EMBED = "embed"
RECONCILE = "reconcile"
PUBLISH = "publish"

__all__ = [
    "COMPILE",
    "EMBED",
    "LABEL",
    "PUBLISH",
    "RECONCILE",
    "compile_one",
    "draft",
    "embed",
    "label",
    "publish",
    "reconcile",
    "subject_of",
]

_encode = msgspec.msgpack.Encoder().encode
_decode_drafts = msgspec.msgpack.Decoder(Drafts).decode


def draft(services: Services, run: Run) -> Run | None:
    """Draft memories from the oldest episodes that are not compiled yet."""
    if run.queue != compile_runs.queue_of(services.settings):
        return _move(services, run)
    if poison.is_isolating(run):
        return _compile_next(services, run)
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        waiting = load_waiting(conn, run.tenant_id, subject_of(run), limit=services.settings.compile_batch_size)
    drafts = draft_waiting(services, run, waiting)
    return _advance(services, run, LABEL, _encode(drafts))


def _move(services: Services, run: Run) -> Run | None:
    """Hand a run that was made before the compiler was changed to the workers of the present one."""
    queue = compile_runs.queue_of(services.settings)
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        if not runs.move(conn, run, queue=queue):
            return None
    return msgspec.structs.replace(run, queue=queue)


def _compile_next(services: Services, run: Run) -> Run | None:
    """Compile the oldest waiting episode by itself, all stages in one."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        waiting = load_waiting(conn, run.tenant_id, subject_of(run), limit=1)
    drafts = draft_waiting(services, run, waiting)
    drafts = label_drafts(drafts, services.settings)
    embedded = embed_waiting(waiting, drafts, services, run)
    verdicts = _compared(services, run, drafts, embedded)
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        outcome = publication.publish(
            conn, run, drafts, embedded, settings=services.settings, now=utcnow(), verdicts=verdicts
        )
        if outcome is None:
            return None
        after = compile_runs.go_on(
            conn,
            run,
            created=outcome.memories_created,
            remaining=outcome.remaining_episodes,
            most_batches=services.settings.compile_max_iterations,
            notes=drafts.notes,
        )
    services.usage.count(run.tenant_id, "memories", outcome.memories_created)
    return after


def label(services: Services, run: Run) -> Run | None:
    """Suggest sensitivity labels for the drafts, if that is turned on."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        drafts = runs.stage_output(conn, run, COMPILE)
        if drafts is None:
            return None
        if services.settings.auto_labeling_enabled:
            drafts = _encode(label_drafts(_decode_drafts(drafts), services.settings))
        return runs.advance(conn, run, next_stage=EMBED, output=drafts)


def embed(services: Services, run: Run) -> Run | None:
    """Split the episodes into passages and embed them together with the drafts."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        labelled = runs.stage_output(conn, run, LABEL)
        if labelled is None:
            return None
        drafts = _decode_drafts(labelled)
        waiting = load_waiting(conn, run.tenant_id, subject_of(run), limit=drafts.episodes)
    embedded = embed_waiting(waiting, drafts, services, run)
    following = RECONCILE if reconcile_stage.is_needed(services, drafts) else PUBLISH
    return _advance(services, run, following, embedded.to_bytes())


def reconcile(services: Services, run: Run) -> Run | None:
    """Compare the drafts with stored memories by meaning, which takes a model."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        labelled, embedded = runs.stage_output(conn, run, LABEL), runs.stage_output(conn, run, EMBED)
    if labelled is None or embedded is None:
        return None
    drafts = _decode_drafts(labelled)
    verdicts = reconcile_stage.verdicts_about(services, run, drafts, EmbeddedPassages.from_bytes(embedded))
    return _advance(services, run, PUBLISH, reconcile_stage.keep(verdicts))


def publish(services: Services, run: Run) -> Run | None:
    """Resolve conflicts and make everything visible, in one transaction; complete the run or begin its next batch."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        labelled, embedded_bytes = runs.stage_output(conn, run, LABEL), runs.stage_output(conn, run, EMBED)
        if labelled is None or embedded_bytes is None:
            return None
        drafts, embedded = _decode_drafts(labelled), EmbeddedPassages.from_bytes(embedded_bytes)
        outcome = publication.publish(
            conn,
            run,
            drafts,
            embedded,
            settings=services.settings,
            now=utcnow(),
            verdicts=reconcile_stage.read(runs.stage_output(conn, run, RECONCILE)) if services.models else (),
        )
        if outcome is None:
            return None
        after = compile_runs.go_on(
            conn,
            run,
            created=outcome.memories_created,
            remaining=outcome.remaining_episodes,
            most_batches=services.settings.compile_max_iterations,
            notes=drafts.notes,
        )
    services.usage.count(run.tenant_id, "memories", outcome.memories_created)
    return after


def compile_one(services: Services, run: Run) -> Run | None:
    """Compile an episode that was set aside, behind its subject's watermark, wholly. None when the run was lost.

    Raises:
        PermanentFailure: when it still cannot be compiled.
    """
    subject_id, seq = subject_of(run), int(run.params["seq"])
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        progress = subjects.progress(conn, run.tenant_id, subject_id)
        episodes = uncompiled_episodes(conn, run.tenant_id, subject_id, after_seq=seq - 1, limit=1)
    if progress is None or not episodes:
        # It was erased meanwhile.
        with tenant_transaction(services.pool, run.tenant_id) as conn:
            done = runs.complete(conn, run, result={"memories_created": 0})
        return msgspec.structs.replace(run, state="completed") if done else None
    models = (progress.embedding_model, *progress.changing_models)
    waiting = Waiting(after_seq=seq - 1, episodes=episodes, speakers=progress.speakers, models=models)
    drafts = draft_waiting(services, run, waiting)
    if drafts.failed:
        raise PermanentFailure(drafts.failed[0].error)
    drafts = label_drafts(drafts, services.settings)
    embedded = embed_waiting(waiting, drafts, services, run)
    verdicts = _compared(services, run, drafts, embedded)
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        outcome = publication.publish(
            conn,
            run,
            drafts,
            embedded,
            settings=services.settings,
            now=utcnow(),
            behind_watermark=True,
            verdicts=verdicts,
        )
        if outcome is None:
            return None
        runs.complete(conn, run, result={"memories_created": outcome.memories_created})
    services.usage.count(run.tenant_id, "memories", outcome.memories_created)
    return msgspec.structs.replace(run, state="completed")


def _compared(services: Services, run: Run, drafts: Drafts, embedded: EmbeddedPassages) -> list[Verdict]:
    """What the stage `reconcile` would say, for an episode that takes all stages at once."""
    if not reconcile_stage.is_needed(services, drafts):
        return []
    return reconcile_stage.verdicts_about(services, run, drafts, embedded)


def subject_of(run: Run) -> str:
    """The subject of a run that has one.

    Raises:
        ValueError: for a run of another kind.
    """
    if run.subject_id is None:
        raise ValueError(f"run {run.id} of kind {run.kind} has no subject")
    return run.subject_id


def _advance(services: Services, run: Run, next_stage: str, output: bytes) -> Run | None:
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        return runs.advance(conn, run, next_stage=next_stage, output=output)
