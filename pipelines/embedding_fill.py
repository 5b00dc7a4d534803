"""Bringing the vectors of one subject that a model lacks, and having the subject read with that model.

Nothing is locked while vectors are made. They are written only where nobody else has written meanwhile, and the
subject is switched under its lock, when nothing is lacking: readers see all vectors of one model or all of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec

from config.deferred import np
from config.ids import uuid7
from pipelines.embedding import EmbeddedPassages
from pipelines.failures import PermanentFailure
from pipelines.passages import telling_words
from pipelines.providers.account import Account, BudgetExhausted, charged_to
from pipelines.services import Embedder, Services
from storage import embedding_changes, new_runs, passage_sources, passage_vectors, run_dispatch, runs, subjects
from storage.passage_columns import quantise
from storage.passage_vectors import LackingBlock, ModelVectors
from storage.rows import Run
from storage.subjects import SubjectProgress
from storage.transactions import Connection, tenant_transaction

#: Kind and stage of the run that fills one subject. Parameter `model`: which one, all that are wanted without it.
KIND = "embed_subject"
STAGE = "fill"

#: Blocks (of 256 passages) that are embedded between two commits.
BLOCKS_AT_ONCE = 4


def queue_of(embedder: Embedder) -> str:
    """Where vectors of a model are made: waiting for a provider must not keep this machine's own work."""
    return "llm" if embedder.is_remote else "maintenance"


def queue_of_model(model: str) -> str:
    """`queue_of`, by the model's name."""
    return "llm" if model.startswith("litellm:") else "maintenance"


def complete_later(
    conn: Connection, tenant_id: str, subject_id: str, progress: SubjectProgress, embedded: EmbeddedPassages
) -> None:
    """Schedule a fill of a subject, to which passages were just published, if a model of it now lacks vectors.

    That happens when its passages were embedded just before a change of the model began, or while there was none.
    """
    if embedded.model is None:
        return
    made = {part.model for part in embedded.vectors}
    wanted = {progress.embedding_model or embedded.model, *progress.changing_models} - {"none"}
    for model in sorted(wanted):
        known = model in made and (
            progress.passage_count == 0 or not passage_vectors.lacks_vectors(conn, tenant_id, subject_id, model)
        )
        if not known:
            schedule(conn, tenant_id, subject_id, model)


def schedule(conn: Connection, tenant_id: str, subject_id: str, model: str, *, dead: str | None = None) -> None:
    """Add a run that fills the subject; `dead` makes it a dead letter, for an operator to look at and retry."""
    queue = queue_of_model(model)
    new_runs.add(
        conn,
        run_id=uuid7(),
        tenant_id=tenant_id,
        subject_id=subject_id,
        kind=KIND,
        queue=queue,
        stage=STAGE,
        unique_key=f"embed:{model}:{subject_id}",
        params={"model": model},
        dead=dead,
    )
    if dead is None:
        run_dispatch.announce(conn, queue)


def fill(services: Services, run: Run) -> Run | None:
    """The work of a run of kind `embed_subject`. None when the run was lost.

    Raises:
        PermanentFailure: when the model is not to be had here.
    """
    model, subject_id = str(run.params["model"]), run.subject_id or ""
    embedder = services.embedder_of(model)
    if embedder is None:
        raise PermanentFailure(f"no embedder for {model}: see STATEWAVE_EMBEDDING_PROVIDER")
    try:
        made = fill_subject(services, run.tenant_id, subject_id, embedder, run_id=run.id)
    except BudgetExhausted as ex:
        with tenant_transaction(services.pool, run.tenant_id) as conn:
            if not runs.postpone(conn, run, delay=timedelta(seconds=ex.retry_after or 0)):
                return None
        return msgspec.structs.replace(run, state="pending")
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        if not runs.complete(conn, run, result={"passages": made}):
            return None
    return msgspec.structs.replace(run, state="completed")


def fill_subject(
    services: Services, tenant_id: str, subject_id: str, embedder: Embedder, *, run_id: UUID | None = None
) -> int:
    """Bring all vectors of the model that the subject lacks; then switch it if a change to the model is under way.

    Returns:
        How many passages got a vector.

    Raises:
        BudgetExhausted: when the tenant may not ask a provider today.
    """
    account = Account(services.pool, services.settings, tenant_id, subject_id, run_id)
    made = 0
    while True:
        with tenant_transaction(services.pool, tenant_id) as conn:
            lacking = passage_vectors.lacking_blocks(conn, tenant_id, subject_id, embedder.model, limit=BLOCKS_AT_ONCE)
            if not lacking:
                if _switch(conn, tenant_id, subject_id, embedder.model):
                    return made
                continue
            texts = _texts(conn, tenant_id, subject_id, lacking, embedder)
        with charged_to(account):
            vectors = embedder.embed(texts)
        with tenant_transaction(services.pool, tenant_id) as conn:
            if subjects.progress(conn, tenant_id, subject_id, lock=True) is None:
                return made
            made += _write(conn, tenant_id, subject_id, lacking, embedder.model, vectors)


def _switch(conn: Connection, tenant_id: str, subject_id: str, model: str) -> bool:
    """Switch the subject under its lock. False when passages came meanwhile, which lack vectors again."""
    if subjects.progress(conn, tenant_id, subject_id, lock=True) is None:
        return True
    if passage_vectors.lacks_vectors(conn, tenant_id, subject_id, model):
        return False
    embedding_changes.switch_subject(conn, tenant_id, subject_id, model=model)
    return True


def _texts(
    conn: Connection, tenant_id: str, subject_id: str, lacking: Sequence[LackingBlock], embedder: Embedder
) -> list[str]:
    ids = {UUID(bytes=source) for block in lacking for source in block.source_ids}
    sources = passage_sources.texts(conn, tenant_id, subject_id, sorted(ids))
    texts = [
        sources.get(source, "")[start:stop]
        for block in lacking
        for source, (start, stop) in zip(block.source_ids, block.spans, strict=True)
    ]
    if embedder.reads_sentences:
        return texts
    known = subjects.progress(conn, tenant_id, subject_id)
    return telling_words(texts, speakers=known.speakers if known else [])


def _write(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    lacking: Sequence[LackingBlock],
    model: str,
    vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> int:
    written = start = 0
    for block in lacking:
        stop = start + len(block.spans)
        scale, quantised = quantise(vectors[start:stop])
        new = ModelVectors(model, scale, quantised)
        if passage_vectors.extend_block(conn, tenant_id, subject_id, new, block=block.block, known=block.known):
            written += stop - start
        start = stop
    return written
