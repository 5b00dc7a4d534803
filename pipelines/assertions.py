"""Gathering drafts and stored memories that assert the same into one assertion each.

An assertion knows when it was first and last made. The last time decides which of two contradicting ones is true now,
so it is kept in the metadata of a stored memory that a later draft repeated (`asserted_at`, `asserted_position`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pipelines.claims import ClaimKeys, same_value
from pipelines.compilation import DraftMemory, ExistingMemory
from pipelines.resolution import Duplicate, DuplicateReason, Fold, Insert, Ref
from pipelines.temporal_anchor import parse_when
from pipelines.wording import Wording, wording

ASSERTED_AT = "asserted_at"
ASSERTED_POSITION = "asserted_position"
POSITION = "position"


class Moment(NamedTuple):
    """When something was said: the time, its place among what was said at that time, and a tie-break by content."""

    time: datetime
    position: tuple[int, ...]
    tie: bytes


class Assertion:
    """One thing that is asserted, by a stored memory, by drafts, or by both."""

    __slots__ = (
        *("_learned_claim", "_wording"),
        *("claim_key", "claim_value", "drafts", "first", "hash", "kind"),
        *("last", "slot", "state", "stored", "superseded", "text"),
    )

    def __init__(self, memory: DraftMemory | ExistingMemory, claim_keys: ClaimKeys) -> None:
        self.kind = memory.kind
        self.hash = memory.content_hash
        self.text = memory.content
        self.claim_key = memory.claim_key
        self.claim_value = memory.claim_value
        self.stored = memory if isinstance(memory, ExistingMemory) else None
        self.superseded = self.stored is not None and self.stored.status != "active"
        self.drafts: list[tuple[int, DraftMemory, DuplicateReason]] = []
        self.first = self.last = _moment(memory)
        if self.stored is not None:
            self.last = max(self.last, _last_moment(self.stored))
        self._wording: Wording | None = None
        self._learned_claim: Any = None
        self.slot: tuple[str, ...] | None = None
        self.state: tuple[str, bool] = ("", False)
        self.take_slot(claim_keys)

    @property
    def wording(self) -> Wording:
        if self._wording is None:
            self._wording = wording(self.text)
        return self._wording

    @property
    def ref(self) -> Ref:
        """The stored memory, or else the first of the drafts."""
        return self.stored.id if self.stored is not None else self.drafts[0][0]

    def take_slot(self, claim_keys: ClaimKeys) -> None:
        """Find what the assertion competes with: other values of its key, or denials of its value."""
        cardinality = claim_keys.cardinality(self.claim_key) if self.claim_key else None
        if cardinality is None or self.claim_key is None:
            self.slot = None
            return
        value = same_value(self.claim_value)
        if cardinality == "single":
            self.slot = (self.kind, self.claim_key)
            self.state = (value, False)
        else:
            self.slot = (self.kind, self.claim_key, value)
            self.state = (value, self.wording.is_negated)

    def add(self, index: int, draft: DraftMemory, reason: DuplicateReason, claim_keys: ClaimKeys) -> None:
        """Let a draft assert this too. What an older memory did not know about its claim it learns."""
        moment = _moment(draft)
        self.first, self.last = min(self.first, moment), max(self.last, moment)
        self.drafts.append((index, draft, reason))
        if self.claim_key is None and draft.claim_key is not None:
            self.claim_key, self.claim_value = draft.claim_key, draft.claim_value
            self._learned_claim = draft.metadata.get("claim")
            self.take_slot(claim_keys)

    def absorb(self, other: Assertion) -> None:
        """Take over the drafts of another assertion that says a part of this one."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.drafts += [(index, draft, "same_claim") for index, draft, _ in other.drafts]

    def duplicates(self) -> list[Duplicate]:
        repeating = self.drafts if self.stored is not None else self.drafts[1:]
        return [Duplicate(index=index, of=self.ref, reason=reason) for index, _, reason in repeating]

    def insert(self, end: datetime | None) -> Insert:
        """The row of an assertion that is new; `end` is when another one took its place."""
        index, draft, _ = self.drafts[0]
        valid_to = _latest_end(draft.valid_to, self.drafts[1:])
        if end is not None:
            valid_to = end if valid_to is None else min(end, valid_to)
        return Insert(
            index=index,
            status="active" if end is None else "superseded",
            valid_from=self.first.time,
            valid_to=valid_to,
            source_episode_ids=_sources([], self.drafts),
            metadata=self._metadata(draft.metadata),
        )

    def fold(self) -> Fold | None:
        """The stored row with what the drafts add to it; None if they add nothing."""
        stored = self.stored
        if stored is None or not self.drafts:
            return None
        valid_to = stored.valid_to if self.superseded else _latest_end(stored.valid_to, self.drafts)
        fold = Fold(
            id=stored.id,
            source_episode_ids=_sources(stored.source_episode_ids, self.drafts),
            valid_from=min(self.first.time, stored.valid_from),
            valid_to=valid_to,
            metadata=self._metadata(stored.metadata),
            claim_key=self.claim_key,
            claim_value=self.claim_value,
        )
        unchanged = (
            fold.source_episode_ids == stored.source_episode_ids
            and fold.valid_from == stored.valid_from
            and fold.valid_to == stored.valid_to
            and fold.metadata == stored.metadata
            and fold.claim_key == stored.claim_key
        )
        return None if unchanged else fold

    def _metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The metadata from which the first and the last moment can be read again."""
        noted = dict(metadata)
        if self._learned_claim is not None:
            noted["claim"] = self._learned_claim
        if self.first.position:
            noted[POSITION] = list(self.first.position)
        if self.last[:2] > self.first[:2]:
            noted[ASSERTED_AT] = self.last.time.isoformat()
            noted[ASSERTED_POSITION] = list(self.last.position)
        return noted


def gather(new: Sequence[DraftMemory], existing: Iterable[ExistingMemory], claim_keys: ClaimKeys) -> list[Assertion]:
    """Make one assertion of each stored memory and of all drafts with the same words.

    A draft joins a superseded memory only if it speaks of the time when that was true, or is what it was made from:
    said anew later, it is a new assertion.

    Returns:
        The assertions, in an order that does not depend on the order of what was given.
    """
    ordered = sorted(existing, key=lambda memory: (memory.status != "active", memory.valid_from, memory.id))
    assertions = [Assertion(memory, claim_keys) for memory in ordered]
    same: dict[tuple[str, bytes], list[Assertion]] = {}
    for assertion in assertions:
        same.setdefault((assertion.kind, assertion.hash), []).append(assertion)
    for index, draft in sorted(enumerate(new), key=lambda numbered: _draft_order(numbered[1])):
        known = same.setdefault((draft.kind, draft.content_hash), [])
        found = _assertion_of(draft, known)
        if found is None:
            found = Assertion(draft, claim_keys)
            known.append(found)
            assertions.append(found)
        found.add(index, draft, "same_content", claim_keys)
    return assertions


def speaks_of_its_time(draft: DraftMemory, memory: ExistingMemory) -> bool:
    """Whether a draft belongs to a superseded memory: from its time, or from the same episode."""
    if memory.valid_to is None or draft.valid_from < memory.valid_to or _is_made_from(draft, memory):
        return True
    # What ended the moment it began is still older than what ended it.
    return _moment(draft)[:2] <= _moment(memory)[:2]


def _is_made_from(draft: DraftMemory, memory: ExistingMemory) -> bool:
    return not set(memory.source_episode_ids).isdisjoint(draft.source_episode_ids)


def _assertion_of(draft: DraftMemory, known: Sequence[Assertion]) -> Assertion | None:
    """The assertion a draft repeats: the one made from its episode, else the active one, else one of its time."""
    for one in known:
        if one.stored is not None and _is_made_from(draft, one.stored):
            return one
    for one in known:
        if one.stored is None or not one.superseded or speaks_of_its_time(draft, one.stored):
            return one
    return None


def _draft_order(draft: DraftMemory) -> tuple[Any, ...]:
    sources = sorted(draft.source_episode_ids)
    return (*_moment(draft), draft.kind, sources, draft.content, draft.claim_key or "", draft.claim_value or "")


def _moment(memory: DraftMemory | ExistingMemory) -> Moment:
    return Moment(memory.valid_from, _position(memory.metadata.get(POSITION)), memory.content_hash)


def _last_moment(memory: ExistingMemory) -> Moment:
    asserted = parse_when(memory.metadata.get(ASSERTED_AT))
    if asserted is None:
        return Moment(memory.valid_from, (), b"")
    return Moment(asserted, _position(memory.metadata.get(ASSERTED_POSITION)), memory.content_hash)


def _position(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(isinstance(part, int) for part in value):
        return tuple(value)
    return ()


def _latest_end(end: datetime | None, drafts: Sequence[tuple[int, DraftMemory, DuplicateReason]]) -> datetime | None:
    for _, draft, _ in drafts:
        if end is None or draft.valid_to is None:
            return None
        end = max(end, draft.valid_to)
    return end


def _sources(known: Sequence[UUID], drafts: Sequence[tuple[int, DraftMemory, DuplicateReason]]) -> list[UUID]:
    added = {source for _, draft, _ in drafts for source in draft.source_episode_ids}
    return [*known, *sorted(added.difference(known))]
