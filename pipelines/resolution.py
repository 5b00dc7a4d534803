"""What conflict resolution decides, as records that a publication writes down.

A memory is named by its index among the drafts (`int`) or by the id under which it is stored (`UUID`). Every draft is
in exactly one of `inserts` and `duplicates`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

Ref = int | UUID

#: Why a draft is not stored: the same words, the same claim with nothing added, or the same said otherwise.
DuplicateReason = Literal["same_content", "same_claim", "same_meaning"]

#: Why a memory ends: another value of its single-valued claim; its claim said anew; the opposite said of the same
#: thing; another wording that says as much or more; and by a model's word, a newer state of it, or that it ended.
SupersessionReason = Literal[
    "claim_changed", "claim_restated", "contradiction", "similar_words", "updated", "retracted"
]

#: Why two similar memories both stay: the newer one says only a part of the older; they name different things; they
#: name the same things in another order.
SkipReason = Literal["widening_skipped", "distinct_entities", "reordered"]


class Insert(msgspec.Struct, frozen=True, kw_only=True):
    """Store the draft `index` with these values in place of its own."""

    index: int
    status: Literal["active", "superseded"]
    valid_from: datetime
    valid_to: datetime | None
    source_episode_ids: list[UUID]
    metadata: dict[str, Any]


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """Do not store the draft `index`: the memory `of` says it, and takes over its source episodes."""

    index: int
    of: Ref
    reason: DuplicateReason


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """Write these values to the stored memory `id`: drafts repeat it."""

    id: UUID
    source_episode_ids: list[UUID]
    valid_from: datetime
    valid_to: datetime | None
    metadata: dict[str, Any]
    claim_key: str | None
    claim_value: str | None


class Supersession(msgspec.Struct, frozen=True, kw_only=True):
    """The memory `loser` was true until `valid_to`, when `winner` took its place.

    A stored loser is to be marked superseded; a draft that loses is already so in its `Insert`. `score` is the
    similarity of the words where words decided, `model` the name of the model where one did.
    """

    loser: Ref
    winner: Ref
    reason: SupersessionReason
    score: float | None
    claim_key: str | None
    valid_to: datetime
    model: str | None = None


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Two memories are similar enough for a supersession, and there was a reason against it.

    Of all older memories that one newer memory spares for one reason, only the most similar is recorded.
    """

    older: Ref
    newer: Ref
    reason: SkipReason
    score: float


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was decided about one set of drafts."""

    inserts: list[Insert]
    duplicates: list[Duplicate]
    folds: list[Fold]
    supersessions: list[Supersession]
    skipped: list[Skipped]
