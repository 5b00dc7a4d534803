"""The stage of a compile run that compares drafts with what is stored, where a model compiles."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from pipelines.compilation import DraftMemory, ExistingMemory
from pipelines.compilers import FALLBACK, RunAnswers, RunAsks, claim_keys_of, may_fall_back
from pipelines.drafting import Drafts
from pipelines.llm.reconcile import reconcile
from pipelines.providers.calls import ProviderFailure
from pipelines.services import Embedder, Services
from pipelines.verdicts import Verdict
from storage import memories, partial_outputs
from storage.memories import Rival
from storage.rows import Run
from storage.transactions import Connection, tenant_transaction

log = structlog.get_logger()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Verdict]).decode


def is_needed(services: Services, drafts: Drafts) -> bool:
    """Whether there is something to compare, and a model to ask about it."""
    return services.models is not None and bool(drafts.memories) and FALLBACK not in drafts.notes


def verdicts_about(services: Services, run: Run, drafts: Drafts) -> bytes:
    """Compare the drafts with the subject's active memories; what `read` turns into verdicts.

    Raises:
        ProviderFailure: when no model answered.
    """
    if services.models is None:
        return _encode([])
    settings = services.settings
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        existing = rivals_of(conn, run, drafts.memories, newest=settings.dedup_max_candidates)
        claim_keys = claim_keys_of(conn, run.tenant_id)
        answers = RunAnswers(services, run, partial_outputs.parts(conn, run))
    active = [stored_memory(rival) for rival in existing if rival.status == "active"]
    try:
        verdicts = reconcile(
            drafts.memories,
            active,
            settings=settings,
            embedder=_free_embedder(services),
            claim_keys=claim_keys,
            ask=RunAsks(services.models, services, run),
            answers=answers,
        )
    except ProviderFailure as ex:
        if not may_fall_back(services, run, ex):
            raise
        log.warning("not compared with stored memories", because=ex.reason, model=ex.model)
        verdicts = []
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


def _free_embedder(services: Services) -> Embedder | None:
    """The embedder, if asking it costs nothing: comparing with thousands of memories must not."""
    embedder = services.embedder
    return embedder if embedder is not None and embedder.is_instant else None
