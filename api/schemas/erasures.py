"""Erasing, and what is told of it afterwards (contract: governance §10, and beyond it)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import TenantQuery
from api.schemas.fields import PRINTABLE, SubjectId
from pipelines.bulk_erasure import FailedSubject
from pipelines.erasure_proof import Proof
from storage.erasures import ProofState, Scope
from storage.subject_filters import MatchedSubject

Reason = Annotated[
    str,
    Meta(
        max_length=500,
        pattern=PRINTABLE.replace("+(", "*("),
        description="Why. It stays in the receipt: name no person in it.",
        extra={"problem": "must not contain control characters or line separators"},
    ),
]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class EraseQuery(TenantQuery, kw_only=True):
    """Whose subject is meant, and why it is erased."""

    reason: Reason = ""


class EraseMemoryQuery(EraseQuery, kw_only=True):
    """Whose memory is meant, and how much goes with it."""

    with_episodes: Annotated[
        bool,
        Meta(description="Erase the episodes it was taken from as well, and every memory taken from one of these."),
    ] = False


class MemoryToErase(msgspec.Struct, kw_only=True):
    """Names a memory."""

    memory_id: UUID


class SubjectErased(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted; zeros and no erasure when there was nothing."""

    subject_id: str
    episodes_deleted: int
    memories_deleted: int
    erasure_id: UUID | None


class MatchFilter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which subjects; they match all that is given. Without anything, `match_all` must be true."""

    subject_id_prefix: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    older_than_days: (
        Annotated[int, Meta(ge=0, le=36_500, description="Without an episode for so many days.")] | None
    ) = None
    tenant_id: Annotated[str, Meta(max_length=256, description="Of this tenant; else of all.")] | None = None
    match_all: bool = False


class BulkDelete(MatchFilter, kw_only=True, forbid_unknown_fields=True):
    """Which subjects to erase, and what the look at them (`preview-delete`) said."""

    expected_count: Annotated[int, Meta(ge=0, le=2**31 - 2, description="`matched` of the preview.")]
    confirm: bool = False
    reason: Reason = ""


class DeletePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter means now."""

    matched: int
    sample: list[MatchedSubject]
    total_episodes: int
    total_memories: int


class BulkDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted. `part_of` is in the receipts of all of it; what remains is deleted by the next call."""

    deleted_subjects: int
    deleted_episodes: int
    deleted_memories: int
    failed: list[FailedSubject]
    remaining: int
    part_of: UUID


class ErasurePath(msgspec.Struct, kw_only=True):
    """Names an erasure."""

    erasure_id: UUID


class ErasuresQuery(msgspec.Struct, kw_only=True):
    """Which erasures, the newest first. `cursor` is the `next_cursor` of the page before."""

    tenant_id: Annotated[str, Meta(max_length=256)] | None = None
    subject_id: (
        Annotated[str, Meta(max_length=256, description="What the subject was called; its hash is looked for.")] | None
    ) = None
    state: ProofState | None = None
    cursor: UUID | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="How many at most.")] = 50


class ErasureEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure: its receipt as it was signed, and what the newest sweep found."""

    id: UUID
    tenant_id: str
    scope: Scope
    erased_at: datetime
    receipt: msgspec.Raw
    state: ProofState
    proof: Proof | None
    proved_at: datetime | None


class ErasureList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of erasures."""

    erasures: list[ErasureEntry]
    next_cursor: UUID | None
    limit: int


class Prove(msgspec.Struct, kw_only=True):
    """What the erased subject was called: only whoever knows it can have it looked for again."""

    subject_id: SubjectId
