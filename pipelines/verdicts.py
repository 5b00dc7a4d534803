"""What a model, or likeness of meaning, says about drafts, and how it joins what the rules decide.

The rules come first: a draft or a memory about which they decided is not touched. A verdict names one stored memory,
never more, so the worst it can do is to supersede one memory per draft; that is recorded with its reason, and an
operator can take it back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from pipelines.assertions import Assertion
from pipelines.claims import ClaimKeys
from pipelines.compilation import DraftMemory, ExistingMemory
from pipelines.resolution import Duplicate, Fold, Insert, Ref, Resolution, Supersession, SupersessionReason

#: `DUPLICATE`: the memory says what the draft says. `UPDATE`: the draft says all of it and more, or its newer state.
#: `DELETE`: the draft says that it is not true any more. Drafts without a verdict are added.
Action = Literal["DUPLICATE", "UPDATE", "DELETE"]

_REASONS: dict[Action, SupersessionReason] = {"UPDATE": "updated", "DELETE": "retracted"}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One decision: the draft `index` against the memory `of`, which is a stored one or an earlier draft.

    `score` is the cosine where likeness decided; `model` who decided otherwise.
    """

    index: int
    action: Action
    of: UUID | int
    score: float | None = None
    model: str | None = None


def apply(
    resolution: Resolution,
    verdicts: Sequence[Verdict],
    drafts: Sequence[DraftMemory],
    existing: Sequence[ExistingMemory],
    claim_keys: ClaimKeys,
) -> Resolution:
    """Let verdicts decide where the rules did not."""
    inserts = {insert.index: insert for insert in resolution.inserts if insert.status == "active"}
    stored = {memory.id: memory for memory in existing if memory.status == "active"}
    settled = _settled(resolution)
    repeated: dict[Ref, list[int]] = defaultdict(list)
    ended: list[Supersession] = []
    for verdict in verdicts:
        target = _target(verdict, drafts, stored, inserts)
        if target is None or verdict.index not in inserts or verdict.index in settled or verdict.of in settled:
            continue
        if target.kind != drafts[verdict.index].kind:
            continue
        if verdict.action == "DUPLICATE":
            repeated[verdict.of].append(verdict.index)
            settled.add(verdict.index)
        elif isinstance(target, ExistingMemory) and verdict.of not in repeated:
            insert = inserts[verdict.index]
            if insert.valid_from < target.valid_from:
                continue  # Older news do not end newer ones.
            ended.append(_end(verdict, target, insert))
            settled |= {verdict.index, verdict.of}
    gone = {index for indexes in repeated.values() for index in indexes}
    folds, duplicates, joined = _fold(repeated, drafts, stored, claim_keys)
    return msgspec.structs.replace(
        resolution,
        inserts=[joined.get(insert.index, insert) for insert in resolution.inserts if insert.index not in gone],
        duplicates=sorted([*resolution.duplicates, *duplicates], key=lambda duplicate: duplicate.index),
        folds=[*resolution.folds, *folds],
        supersessions=[*resolution.supersessions, *ended],
    )


def _settled(resolution: Resolution) -> set[Ref]:
    """Drafts and memories about which the rules decided."""
    settled: set[Ref] = {ref for s in resolution.supersessions for ref in (s.loser, s.winner)}
    settled |= {fold.id for fold in resolution.folds}
    return settled | {ref for duplicate in resolution.duplicates for ref in (duplicate.index, duplicate.of)}


def _target(
    verdict: Verdict, drafts: Sequence[DraftMemory], stored: dict[UUID, ExistingMemory], inserts: dict[int, Insert]
) -> DraftMemory | ExistingMemory | None:
    if isinstance(verdict.of, UUID):
        return stored.get(verdict.of)
    return drafts[verdict.of] if verdict.of in inserts and verdict.of != verdict.index else None


def _end(verdict: Verdict, target: ExistingMemory, insert: Insert) -> Supersession:
    ends = insert.valid_from if target.valid_to is None else min(insert.valid_from, target.valid_to)
    return Supersession(
        loser=target.id,
        winner=verdict.index,
        reason=_REASONS[verdict.action],
        score=None,
        claim_key=None,
        valid_to=ends,
        model=verdict.model,
    )


def _fold(
    repeated: dict[Ref, list[int]],
    drafts: Sequence[DraftMemory],
    stored: dict[UUID, ExistingMemory],
    claim_keys: ClaimKeys,
) -> tuple[list[Fold], list[Duplicate], dict[int, Insert]]:
    """Take drafts into what they repeat: stored memories become folds, earlier drafts inserts with more sources."""
    folds: list[Fold] = []
    duplicates: list[Duplicate] = []
    joined: dict[int, Insert] = {}
    for of, indexes in repeated.items():
        if isinstance(of, UUID):
            assertion = Assertion(stored[of], claim_keys)
        else:
            assertion = Assertion(drafts[of], claim_keys)
            assertion.add(of, drafts[of], "same_content", claim_keys)
        for index in indexes:
            assertion.add(index, drafts[index], "same_meaning", claim_keys)
        duplicates += assertion.duplicates()
        if isinstance(of, int):
            joined[of] = assertion.insert(None)
        elif fold := assertion.fold():
            folds.append(fold)
    return folds, duplicates, joined
