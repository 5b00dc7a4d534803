"""The stage of a compile run that compares drafts with what is stored, where a model compiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from config.deferred import np
from config.settings import Settings
from pipelines.compilation import DraftMemory, ExistingMemory
from pipelines.compilers import FALLBACK, RunAnswers, RunAsks, claim_keys_of, may_fall_back
from pipelines.drafting import Drafts
from pipelines.embedding import EmbeddedPassages
from pipelines.llm.reconcile import reconcile
from pipelines.providers.calls import ProviderFailure
from pipelines.services import Services
from pipelines.verdicts import Verdict
from storage import memories, partial_outputs, passage_vectors
from storage.memories import Rival
from storage.passage_columns import unit_rows
from storage.rows import Run
from storage.transactions import Connection, tenant_transaction

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = structlog.get_logger()

#: Blocks of a subject, from the newest, in which vectors of stored memories are looked for: 16,384 passages.
_BLOCKS = 64

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Verdict]).decode


def is_needed(services: Services, drafts: Drafts) -> bool:
    """Whether there is something to compare, and a model to ask about it."""
    return services.models is not None and bool(drafts.memories) and FALLBACK not in drafts.notes


def verdicts_about(services: Services, run: Run, drafts: Drafts, embedded: EmbeddedPassages) -> list[Verdict]:
    """Compare the drafts with the subject's active memories.

    Raises:
        ProviderFailure: when no model answered.
    """
    if services.models is None:
        return []
    settings = services.settings
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        existing = rivals_of(conn, run, drafts.memories, newest=most_compared(settings))
        existing.sort(key=lambda rival: (rival.created_at, rival.id), reverse=True)
        active = [stored_memory(rival) for rival in existing if rival.status == "active"]
        vectors = _vectors(conn, services, run, drafts.memories, active, embedded)
        claim_keys = claim_keys_of(conn, run.tenant_id)
        answers = RunAnswers(services, run, partial_outputs.parts(conn, run))
    try:
        return reconcile(
            drafts.memories,
            active,
            settings=settings,
            vectors=vectors,
            claim_keys=claim_keys,
            ask=RunAsks(services.models, services, run),
            answers=answers,
        )
    except ProviderFailure as ex:
        if not may_fall_back(services, run, ex):
            raise
        log.warning("not compared with stored memories", because=ex.reason, model=ex.model)
        return []


def most_compared(settings: Settings) -> int:
    """Stored memories of a kind that drafts are compared with, for repetitions or by the model."""
    return max(settings.dedup_max_candidates, settings.reconcile_max_candidates)


def keep(verdicts: Sequence[Verdict]) -> bytes:
    """A form of the verdicts that a run can keep between two stages."""
    return _encode(verdicts)


def read(output: bytes | None) -> list[Verdict]:
    """Verdicts that the stage kept; none when there was no such stage."""
    return _decode(output) if output is not None else []


def rivals_of(conn: Connection, run: Run, drafts: Sequence[DraftMemory], *, newest: int) -> list[Rival]:
    """Stored memories that the drafts may repeat or contradict."""
    if not drafts:
        return []
    return memories.rivals(
        conn,
        run.tenant_id,
        run.subject_id or "",
        kinds=sorted({draft.kind for draft in drafts}),
        claim_keys=sorted({draft.claim_key for draft in drafts if draft.claim_key}),
        content_hashes=[draft.content_hash for draft in drafts],
        newest=newest,
    )


def stored_memory(rival: Rival) -> ExistingMemory:
    """A stored memory as it is compared."""
    return ExistingMemory(
        id=rival.id,
        kind=rival.kind,
        content=rival.content,
        status="active" if rival.status == "active" else "superseded",
        valid_from=rival.valid_from,
        valid_to=rival.valid_to,
        source_episode_ids=rival.source_episode_ids,
        metadata=msgspec.json.decode(rival.metadata),
        claim_key=rival.claim_key,
        claim_value=rival.claim_value,
        content_hash=rival.content_hash,
    )


def _vectors(
    conn: Connection,
    services: Services,
    run: Run,
    drafts: Sequence[DraftMemory],
    stored: Sequence[ExistingMemory],
    embedded: EmbeddedPassages,
) -> NDArray[np.float32] | None:
    """Unit rows of the drafts and of the stored memories. Nothing is asked of a provider for it: what it embedded
    before is taken from the passages. None where there is no embedder, or the drafts have no vectors.
    """
    embedder = services.embedder
    if embedder is not None and embedder.is_instant:
        return embedder.embed([*(draft.content for draft in drafts), *(memory.content for memory in stored)])
    own = next((part for part in embedded.vectors if part.model == embedded.model), None)
    if own is None:
        return None
    rows = np.zeros((len(drafts) + len(stored), own.vectors.shape[1]), dtype=np.float32)
    rows[: len(drafts)] = unit_rows(own.scale[embedded.turns :], own.vectors[embedded.turns :])
    places = {memory.id.bytes: len(drafts) + place for place, memory in enumerate(stored)}
    for source, row in passage_vectors.vectors_of_sources(
        conn, run.tenant_id, run.subject_id or "", own.model, places, newest_blocks=_BLOCKS
    ):
        rows[places[source]] = row
    return rows
