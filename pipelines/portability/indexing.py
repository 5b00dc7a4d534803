"""Making the passages of what was imported without them: a durable run, which takes its turn among the subject's
compilations. What it has done stays done, so it may be killed and begun again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec

from config.ids import uuid7
from pipelines import embedding_fill
from pipelines.embedding import EmbeddedPassages, embed_passages
from pipelines.passages import Passage, memory_passage, split_episode
from pipelines.providers.account import Account, charged_to
from pipelines.services import Embedder, Services
from storage import episodes, memories, new_runs, passage_vectors, passages, portability, runs, subjects
from storage.episodes import EpisodeWithBody
from storage.rows import Memory, Run
from storage.transactions import Connection, tenant_transaction

KIND = "index_import"
QUEUE = "compile"
STAGE = "index"

#: Episodes or memories whose passages are made and written together.
BATCH = 200

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def order(conn: Connection, tenant_id: str, subject_id: str, *, request_id: str | None) -> None:
    """Order the run, in the transaction that imports."""
    new_runs.add(
        conn,
        run_id=uuid7(),
        tenant_id=tenant_id,
        subject_id=subject_id,
        kind=KIND,
        queue=QUEUE,
        stage=STAGE,
        unique_key=f"compile:{subject_id}",
        params={},
        request_id=request_id,
        # A request to compile must not join it.
        joinable=False,
    )


def index(services: Services, run: Run) -> Run | None:
    """The one stage: make what is missing, batch by batch. None when the run was lost, or its subject erased."""
    subject_id = run.subject_id or ""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        progress = subjects.progress(conn, run.tenant_id, subject_id)
        turns, others = portability.without_passages(conn, run.tenant_id, subject_id)
    speakers = list(progress.speakers) if progress else []
    models = (progress.embedding_model, *progress.changing_models) if progress else (None,)
    embedders = services.embedders_of(models)
    made = 0
    for batch in _batches(turns):
        with tenant_transaction(services.pool, run.tenant_id) as conn:
            found = episodes.episodes_by_ids(conn, run.tenant_id, subject_id, batch)
        split = [passage for id in batch if id in found for passage in _of_episode(found[id], speakers)]
        made_now = _write(services, run, _embedded(services, run, embedders, split, [], speakers))
        if made_now is None:
            return None
        made += made_now
    for batch in _batches(others):
        with tenant_transaction(services.pool, run.tenant_id) as conn:
            stored = memories.memories_by_ids(conn, run.tenant_id, subject_id, batch)
        told = [_of_memory(stored[id]) for id in batch if id in stored]
        made_now = _write(services, run, _embedded(services, run, embedders, [], told, speakers))
        if made_now is None:
            return None
        made += made_now
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        if not runs.complete(conn, run, result={"passages": made}):
            return None
    return msgspec.structs.replace(run, state="completed")


def _embedded(
    services: Services,
    run: Run,
    embedders: Sequence[Embedder],
    turns: Sequence[Passage],
    told: Sequence[Passage],
    speakers: Sequence[str],
) -> EmbeddedPassages:
    with charged_to(Account(services.pool, services.settings, run.tenant_id, run.subject_id, run.id)):
        return embed_passages(turns, told, embedders, speakers=speakers)


def _write(services: Services, run: Run, embedded: EmbeddedPassages) -> int | None:
    """Append the passages; how many, None when the run was lost."""
    subject_id = run.subject_id or ""
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        progress = subjects.progress(conn, run.tenant_id, subject_id, lock=True)
        if progress is None or not runs.hold(conn, run):
            return None
        stored = progress.passage_count
        passages.append_passages(conn, run.tenant_id, subject_id, embedded.columns, stored=stored)
        passage_vectors.append_vectors(conn, run.tenant_id, subject_id, embedded.vectors, stored=stored)
        subjects.record_publication(
            conn,
            run.tenant_id,
            subject_id,
            compiled_seq=0,
            episodes=0,
            memories=0,
            passages=len(embedded.columns),
            speakers=embedded.speakers,
            embedding_model=embedded.model,
        )
        if len(embedded.columns):
            embedding_fill.complete_later(conn, run.tenant_id, subject_id, progress, embedded)
    return len(embedded.columns)


def _batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _of_episode(episode: EpisodeWithBody, speakers: Sequence[str]) -> list[Passage]:
    return split_episode(
        _decode_object(episode.payload),
        episode_id=episode.id,
        text=episode.body,
        source=episode.source,
        session_id=episode.session_id,
        occurred_at=episode.occurred_at,
        metadata=_decode_object(episode.metadata),
        known_speakers=speakers,
    )


def _of_memory(memory: Memory) -> Passage:
    return memory_passage(
        memory_id=memory.id,
        kind=memory.kind,
        content=memory.content,
        valid_from=memory.valid_from,
        valid_to=memory.valid_to,
    )
