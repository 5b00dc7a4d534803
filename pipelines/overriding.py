"""Noting in a memory that it took the place of another, so that whoever delivers it can tell that there was a conflict.

A superseded memory names its winner (`superseded_by`). The winner says in its metadata how the conflict ended, without
ids: `overridden` where it says something else than the memory it replaced, `merged` where it says the same anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from pipelines.compilation import ExistingMemory
from pipelines.resolution import Fold, Ref, Resolution, SupersessionReason

#: How a conflict ended, in the metadata of the memory that won it.
CONFLICT = "conflict"

Outcome = Literal["merged", "overridden"]

#: Reasons that say nothing different.
_SAYING_THE_SAME: frozenset[SupersessionReason] = frozenset({"claim_restated", "similar_words"})


def with_outcomes(resolution: Resolution, existing: Iterable[ExistingMemory]) -> Resolution:
    """The resolution, with the outcome noted in every memory that won a conflict. What is noted already stays."""
    outcomes: dict[Ref, Outcome] = {}
    for each in resolution.supersessions:
        if each.reason not in _SAYING_THE_SAME:
            outcomes[each.winner] = "overridden"
        else:
            outcomes.setdefault(each.winner, "merged")
    if not outcomes:
        return resolution
    inserts = [
        msgspec.structs.replace(insert, metadata={**insert.metadata, CONFLICT: outcome})
        if (outcome := outcomes.get(insert.index))
        else insert
        for insert in resolution.inserts
    ]
    stored = [memory for memory in existing if _adds(outcomes.get(memory.id), memory)]
    return msgspec.structs.replace(resolution, inserts=inserts, folds=_folds(resolution.folds, stored, outcomes))


def _adds(outcome: Outcome | None, memory: ExistingMemory) -> bool:
    return outcome is not None and memory.metadata.get(CONFLICT) not in ("overridden", outcome)


def _folds(folds: Sequence[Fold], winners: Sequence[ExistingMemory], outcomes: dict[Ref, Outcome]) -> list[Fold]:
    by_id: dict[UUID, Fold] = {fold.id: fold for fold in folds}
    for memory in winners:
        fold = by_id.get(memory.id) or _unchanged(memory)
        by_id[memory.id] = msgspec.structs.replace(fold, metadata={**fold.metadata, CONFLICT: outcomes[memory.id]})
    return list(by_id.values())


def _unchanged(memory: ExistingMemory) -> Fold:
    return Fold(
        id=memory.id,
        source_episode_ids=memory.source_episode_ids,
        valid_from=memory.valid_from,
        valid_to=memory.valid_to,
        metadata=memory.metadata,
        claim_key=memory.claim_key,
        claim_value=memory.claim_value,
    )
