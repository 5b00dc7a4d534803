"""Publishing a compilation: the one moment in which what was drafted becomes known.

All of it happens in the caller's transaction: conflicts are resolved against what is stored, contradicted memories
are superseded, new memories and passages become visible, the compile watermark moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from config.deferred import np
from config.settings import Settings
from pipelines import conflicts, embedding_fill, poison, webhook_events
from pipelines.claims import DEFAULT_CLAIM_KEYS, ClaimKeys
from pipelines.compilers import claim_keys_of
from pipelines.conflicts import Resolution
from pipelines.drafting import Drafts
from pipelines.embedding import EmbeddedPassages
from pipelines.overriding import with_outcomes
from pipelines.reconcile_stage import most_compared, rivals_of, stored_memory
from pipelines.resolution import Supersession
from pipelines.terms import full_text_language
from pipelines.verdicts import Verdict, apply
from storage import memories, passage_vectors, passages, runs, subjects
from storage.memories import NewMemory
from storage.rows import Memory, Run
from storage.transactions import Connection

#: Active memories of a kind, newest first, that new ones are compared with word by word.
COMPARED_PER_KIND = 500

_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Publication:
    """What a publication did; `memories` are those it made, oldest first."""

    memories: list[Memory]
    remaining_episodes: int

    @property
    def memories_created(self) -> int:
        return len(self.memories)


def publish(
    conn: Connection,
    run: Run,
    drafts: Drafts,
    embedded: EmbeddedPassages,
    *,
    settings: Settings,
    now: datetime,
    behind_watermark: bool = False,
    verdicts: Sequence[Verdict] = (),
) -> Publication | None:
    """Make a batch of a run visible. None when the run was lost to another worker or erased with its subject.

    A batch that was published already (its worker died before it could say so) changes nothing, and nothing is to be
    published of a subject that does not exist. Episodes that failed become dead letters of their own, and the
    watermark passes them.

    Args:
        behind_watermark: the batch is one that was passed before; the caller completes the run in this transaction,
            so it is published once.
        verdicts: what was decided about drafts by their meaning.
    """
    subject_id = run.subject_id or ""
    # Subject before run, as everywhere: whoever erases or appends takes the locks in the same order.
    progress = subjects.progress(conn, run.tenant_id, subject_id, lock=True)
    if not runs.hold(conn, run):
        return None
    if progress is None:
        # Nobody has stored anything of the subject: whoever erases one takes its runs with it.
        return Publication(memories=[], remaining_episodes=0)
    if progress.compiled_seq != drafts.after_seq and not behind_watermark:
        return Publication(memories=[], remaining_episodes=progress.uncompiled)
    compared = max(COMPARED_PER_KIND, most_compared(settings) if verdicts else 0)
    existing = [stored_memory(rival) for rival in rivals_of(conn, run, drafts.memories, newest=compared)]
    claim_keys = _claim_keys(conn, run, drafts)
    resolution = conflicts.resolve(drafts.memories, existing, claim_keys=claim_keys)
    if verdicts:
        resolution = apply(resolution, verdicts, drafts.memories, existing, claim_keys)
    resolution = with_outcomes(resolution, existing)
    created = _write_memories(conn, run, drafts, resolution, now)
    kept = np.concatenate(
        [
            np.arange(embedded.turns),
            embedded.turns + np.array([i.index for i in resolution.inserts if i.status == "active"], dtype=np.int64),
        ]
    ).astype(np.int64)
    added = embedded.rows(kept)
    passages.append_passages(conn, run.tenant_id, subject_id, added.columns, stored=progress.passage_count)
    passage_vectors.append_vectors(conn, run.tenant_id, subject_id, added.vectors, stored=progress.passage_count)
    passages.end_passages(conn, run.tenant_id, subject_id, _ended(resolution, now))
    subjects.record_publication(
        conn,
        run.tenant_id,
        subject_id,
        compiled_seq=drafts.through_seq,
        episodes=0 if behind_watermark else drafts.episodes,
        memories=len(created),
        passages=len(kept),
        speakers=embedded.speakers,
        embedding_model=embedded.model,
    )
    if len(kept):
        embedding_fill.complete_later(conn, run.tenant_id, subject_id, progress, embedded)
    if drafts.episodes and (progress.has_webhooks or settings.webhook_url):
        webhook_events.memories_compiled(
            conn, settings, run.tenant_id, subject_id, memories_created=len(created), request_id=run.request_id
        )
    for episode in drafts.failed:
        poison.keep_dead_letter(conn, run, episode)
    return Publication(memories=created, remaining_episodes=progress.uncompiled - drafts.episodes)


def _claim_keys(conn: Connection, run: Run, drafts: Drafts) -> ClaimKeys:
    """The known keys and the tenant's own, which are only looked up when a draft has one that is not known."""
    if all(d.claim_key is None or DEFAULT_CLAIM_KEYS.cardinality(d.claim_key) for d in drafts.memories):
        return DEFAULT_CLAIM_KEYS
    return claim_keys_of(conn, run.tenant_id)


def _write_memories(conn: Connection, run: Run, drafts: Drafts, resolution: Resolution, now: datetime) -> list[Memory]:
    subject_id = run.subject_id or ""
    winner_of = {s.loser: _memory_id(s.winner, drafts) for s in resolution.supersessions}
    rows = []
    for insert in resolution.inserts:
        draft = drafts.memories[insert.index]
        rows.append(
            NewMemory(
                id=drafts.ids[insert.index],
                kind=draft.kind,
                content=draft.content,
                summary=draft.summary,
                confidence=draft.confidence,
                valid_from=insert.valid_from,
                valid_to=insert.valid_to,
                source_episode_ids=insert.source_episode_ids,
                metadata=msgspec.Raw(_json.encode(insert.metadata)),
                status=insert.status,
                claim_key=draft.claim_key,
                claim_value=draft.claim_value,
                content_hash=draft.content_hash.hex(),
                superseded_by=winner_of.get(insert.index),
                suggested_labels=draft.suggested_labels,
                language=full_text_language(draft.content),
            )
        )
    memories.insert_memories(conn, run.tenant_id, subject_id, rows, run_id=run.id, now=now)
    memories.fold(conn, run.tenant_id, _folds(resolution), now=now)
    memories.supersede(conn, run.tenant_id, _supersessions(resolution, drafts), now=now)
    return sorted([row.stored(subject_id, now) for row in rows], key=lambda memory: memory.id)


def _folds(resolution: Resolution) -> list[memories.Fold]:
    return [
        memories.Fold(
            id=fold.id,
            source_episode_ids=fold.source_episode_ids,
            valid_from=fold.valid_from,
            valid_to=fold.valid_to,
            metadata=_json.encode(fold.metadata),
            claim_key=fold.claim_key,
            claim_value=fold.claim_value,
        )
        for fold in resolution.folds
    ]


def _supersessions(resolution: Resolution, drafts: Drafts) -> list[memories.Supersession]:
    return [
        memories.Supersession(
            loser=s.loser,
            winner=_memory_id(s.winner, drafts),
            valid_to=s.valid_to,
            record=_json.encode(_record(s)),
        )
        for s in resolution.supersessions
        if isinstance(s.loser, UUID)
    ]


def _record(s: Supersession) -> dict[str, Any]:
    """What a superseded memory says about why it is."""
    decided_by = {"model": s.model} if s.model else {}
    return {"reason": s.reason, "score": s.score, "claim_key": s.claim_key, **decided_by}


def _ended(resolution: Resolution, now: datetime) -> dict[UUID, datetime]:
    return {s.loser: now for s in resolution.supersessions if isinstance(s.loser, UUID)}


def _memory_id(reference: int | UUID, drafts: Drafts) -> UUID:
    return drafts.ids[reference] if isinstance(reference, int) else reference
