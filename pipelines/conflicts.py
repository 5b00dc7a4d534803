"""Deciding what becomes of drafts: stored, folded into a memory that says the same, or superseded.

In this order:

1. The same words: the memory that is there takes over the draft's sources.
2. Claims: of a single-valued key the value asserted last is true, the others end when the next one began. Of a
   multi-valued key every value stays, unless it is later denied. History that arrives late is stored as already
   superseded.
3. Words, where claims do not decide: of two memories of one kind that share enough words the newer one is true, unless
   they name different things or the newer one says only a part of the older.

The outcome depends on the set of drafts and not on their order, and deciding about the same drafts again changes
nothing. Words are not meaning: two sentences that say the same differently both stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from pipelines.assertions import Assertion, gather, speaks_of_its_time
from pipelines.claims import DEFAULT_CLAIM_KEYS, ClaimKeys
from pipelines.compilation import PROFILE_FACT, DraftMemory, ExistingMemory
from pipelines.resolution import Ref, Resolution, Skipped, SkipReason, Supersession, SupersessionReason
from pipelines.similar_pairs import similar_pairs
from pipelines.wording import Wording, name_different_things

__all__ = ["Resolution", "resolve"]

#: Shared words divided by all words from which two memories are about the same. The contract's figures.
THRESHOLD = 0.8
FACT_THRESHOLD = 0.6


def resolve(
    new: Sequence[DraftMemory],
    existing: Sequence[ExistingMemory],
    *,
    claim_keys: ClaimKeys = DEFAULT_CLAIM_KEYS,
) -> Resolution:
    """Decide what becomes of each draft and which stored memories end.

    Args:
        new: Drafts of one subject.
        existing: The subject's active memories, and the superseded ones that share a content hash or a claim key
            with a draft (without these a replay of old drafts would store them again).
        claim_keys: How many values each key may have.
    """
    assertions = gather(new, existing, claim_keys)
    ended: dict[int, Supersession] = {}
    assertions = _decide_by_claims(assertions, ended)
    skipped = _decide_by_words(assertions, ended)
    inserts, duplicates, folds = [], [], []
    for assertion in assertions:
        duplicates += assertion.duplicates()
        if assertion.stored is None:
            end = ended.get(id(assertion))
            inserts.append(assertion.insert(end.valid_to if end else None))
        elif fold := assertion.fold():
            folds.append(fold)
    return Resolution(
        inserts=sorted(inserts, key=lambda insert: insert.index),
        duplicates=sorted(duplicates, key=lambda duplicate: duplicate.index),
        folds=folds,
        supersessions=list(ended.values()),
        skipped=skipped,
    )


def _decide_by_claims(assertions: list[Assertion], ended: dict[int, Supersession]) -> list[Assertion]:
    """End the assertions whose claim was overtaken; return those that are left after folding."""
    slots: dict[tuple[str, ...], list[Assertion]] = defaultdict(list)
    for assertion in assertions:
        if assertion.slot is not None:
            slots[assertion.slot].append(assertion)
    folded: set[int] = set()
    for rivals in slots.values():
        if len(rivals) < 2 or not any(rival.drafts for rival in rivals):
            continue
        kept = _fold_same_claims(rivals, folded)
        points = sorted(
            [(rival.first, number) for number, rival in enumerate(kept)]
            + [(rival.last, number) for number, rival in enumerate(kept)]
        )
        last_place = {number: place for place, (_, number) in enumerate(points)}
        for number, place in last_place.items():
            if place + 1 < len(points):
                moment, winner = points[place + 1]
                _end(kept[number], kept[winner], _claim_reason(kept[number], kept[winner]), None, moment.time, ended)
    return [assertion for assertion in assertions if id(assertion) not in folded]


def _fold_same_claims(rivals: Sequence[Assertion], folded: set[int]) -> list[Assertion]:
    """Fold drafts into an earlier assertion of the same claim whose words say all that theirs do."""
    kept: list[Assertion] = []
    by_state: dict[tuple[str, bool], list[Assertion]] = defaultdict(list)
    for rival in sorted(rivals, key=lambda one: (one.first, one.stored is None)):
        alike = by_state[rival.state]
        earlier = next((one for one in alike if rival.stored is None and _says_all(one, rival)), None)
        if earlier is None:
            kept.append(rival)
            alike.append(rival)
        else:
            earlier.absorb(rival)
            folded.add(id(rival))
    return kept


def _says_all(one: Assertion, rival: Assertion) -> bool:
    if one.wording.is_negated != rival.wording.is_negated or not rival.wording.core <= one.wording.core:
        return False
    stored = one.stored
    if stored is None or not one.superseded:
        return True
    return all(speaks_of_its_time(draft, stored) for _, draft, _ in rival.drafts)


def _claim_reason(loser: Assertion, winner: Assertion) -> SupersessionReason:
    if loser.state == winner.state:
        return "claim_restated"
    return "claim_changed" if loser.state[0] != winner.state[0] else "contradiction"


def _decide_by_words(assertions: Sequence[Assertion], ended: dict[int, Supersession]) -> list[Skipped]:
    """End the assertions that a similar newer one replaces; return the pairs that were spared."""
    spared: dict[tuple[Ref, SkipReason], Skipped] = {}
    for kind in sorted({assertion.kind for assertion in assertions}):
        left = [one for one in assertions if one.kind == kind and not one.superseded and id(one) not in ended]
        losses: list[tuple[Assertion, Assertion, SupersessionReason, float]] = []
        for older, newer, score in _similar(left, FACT_THRESHOLD if kind == PROFILE_FACT else THRESHOLD):
            reason = _reason_against(older.wording, newer.wording)
            if reason is None:
                denied = older.wording.is_negated != newer.wording.is_negated
                losses.append((older, newer, "contradiction" if denied else "similar_words", score))
                continue
            skip = Skipped(older=older.ref, newer=newer.ref, reason=reason, score=score)
            known = spared.get((newer.ref, reason))
            if known is None or (known.score, str(known.older)) < (score, str(skip.older)):
                spared[newer.ref, reason] = skip
        # The first memory after it ends a memory, whichever of them ended in turn.
        for older, newer, verdict, score in sorted(losses, key=lambda loss: (loss[0].last, loss[1].last)):
            if id(older) not in ended:
                began = newer.first.time if newer.first >= older.first else newer.last.time
                _end(older, newer, verdict, score, began, ended)
    return sorted(spared.values(), key=lambda skip: (str(skip.newer), skip.reason))


def _similar(members: Sequence[Assertion], threshold: float) -> Iterator[tuple[Assertion, Assertion, float]]:
    """Yield pairs (older, newer, score) of which one is new and about which claims say nothing."""
    new = [member for member in members if member.stored is None]
    if not new:
        return
    known = [member for member in members if member.stored is not None]
    everything = [*known, *new]
    cores = [member.wording.core for member in everything]
    for one, other, score in similar_pairs(cores[: len(known)], cores[len(known) :], threshold):
        pair = (everything[one], new[other])
        if not _claims_decide(*pair):
            older, newer = sorted(pair, key=lambda member: (member.last, member.first, member.text))
            yield older, newer, score


def _reason_against(older: Wording, newer: Wording) -> SkipReason | None:
    if name_different_things(older, newer):
        return "distinct_entities"
    if older.is_negated != newer.is_negated:
        return None
    if newer.core < older.core:
        return "widening_skipped"
    if newer.core == older.core and newer.names != older.names:
        return "reordered"
    return None


def _claims_decide(one: Assertion, other: Assertion) -> bool:
    if one.slot is not None and other.slot is not None:
        return True
    # Keys that nobody declared say nothing about how many values there may be, but different keys differ.
    return bool(one.claim_key and other.claim_key and one.claim_key != other.claim_key)


def _end(
    loser: Assertion,
    winner: Assertion,
    reason: SupersessionReason,
    score: float | None,
    valid_to: datetime,
    ended: dict[int, Supersession],
) -> None:
    """Note that an assertion ended, unless it is a stored memory that ended before."""
    if loser.superseded:
        return
    stored_end = loser.stored.valid_to if loser.stored is not None else None
    ended[id(loser)] = Supersession(
        loser=loser.ref,
        winner=winner.ref,
        reason=reason,
        score=score,
        claim_key=loser.claim_key if score is None else None,
        valid_to=valid_to if stored_end is None else min(valid_to, stored_end),
    )
