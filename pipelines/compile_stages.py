"""The stages of a compile run: compile → label → embed → publish.

A stage reads what the former one kept, works, and keeps its own result in the same transaction that opens the next
stage (`storage.runs.advance`). Nothing is visible to readers until `publish` writes all of it at once. Each stage
commits only while its run still carries the fence it was claimed with, so any of them may be killed, repeated or
run twice at the same time without a trace.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec

from config.clock import utcnow
from pipelines import publication
from pipelines.drafting import Drafts, draft_subject, load_waiting
from pipelines.embedding import EmbeddedPassages, embed_waiting
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction, tenant_transaction

COMPILE = "compile"
LABEL = "label"
EMBED = "embed"
PUBLISH = "publish"

#: Batches that one run drains before it completes, whatever still arrives.
MOST_BATCHES = 2000

_encode = msgspec.msgpack.Encoder().encode
_decode_drafts = msgspec.msgpack.Decoder(Drafts).decode


def is_quiet(services: Services, run_id: UUID) -> bool:
    """Whether a waiting run should begin now. An automatic one whose subject is still being written to is put off."""
    quiet = services.settings.auto_compile_after_seconds
    if quiet is None:
        return True
    with operator_transaction(services.pool) as conn:
        postponed = runs.postpone_until_quiet(
            conn,
            run_id,
            quiet=timedelta(seconds=quiet),
            at_latest=timedelta(seconds=services.settings.auto_compile_at_latest_seconds),
        )
    return postponed is None


def draft(services: Services, run: Run) -> Run | None:
    """Draft memories from the oldest episodes that are not compiled yet."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        waiting = load_waiting(conn, run.tenant_id, subject_of(run), limit=services.settings.compile_batch_size)
    drafts = draft_subject(waiting, kind_ttl_days=services.settings.kind_ttl_days)
    return _advance(services, run, LABEL, _encode(drafts))


def label(services: Services, run: Run) -> Run | None:
    """The place of the stage that labels drafts before anybody can read them. Drafts pass it as they are."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        drafts = runs.stage_output(conn, run, COMPILE)
    return _advance(services, run, EMBED, drafts) if drafts is not None else None


def embed(services: Services, run: Run) -> Run | None:
    """Split the episodes into passages and embed them together with the drafts."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        labelled = runs.stage_output(conn, run, LABEL)
        if labelled is None:
            return None
        drafts = _decode_drafts(labelled)
        waiting = load_waiting(conn, run.tenant_id, subject_of(run), limit=drafts.episodes)
    embedded = embed_waiting(waiting, drafts, services.embedder)
    return _advance(services, run, PUBLISH, embedded.to_bytes())


def publish(services: Services, run: Run) -> Run | None:
    """Resolve conflicts and make everything visible, in one transaction; complete the run or begin its next batch."""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        labelled, embedded_bytes = runs.stage_output(conn, run, LABEL), runs.stage_output(conn, run, EMBED)
        if labelled is None or embedded_bytes is None:
            return None
        drafts, embedded = _decode_drafts(labelled), EmbeddedPassages.from_bytes(embedded_bytes)
        outcome = publication.publish(conn, run, drafts, embedded, settings=services.settings, now=utcnow())
        if outcome is None:
            return None
        created = int(run.params.get("memories_created", 0)) + outcome.memories_created
        batches = int(run.params.get("batches", 0)) + 1
        if outcome.remaining_episodes and batches < MOST_BATCHES:
            runs.begin_again(conn, run, stage=COMPILE, params={"memories_created": created, "batches": batches})
            return msgspec.structs.replace(run, stage=COMPILE)
        runs.complete(conn, run, result={"memories_created": created})
        return msgspec.structs.replace(run, state="completed")


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
        if not runs.advance(conn, run, next_stage=next_stage, output=output):
            return None
    return msgspec.structs.replace(run, stage=next_stage)
