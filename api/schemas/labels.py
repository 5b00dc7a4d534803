"""Sensitivity labels on the wire (contract: core §6.4, §6.5; governance §3, §5)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import Limit, TenantId, TenantQuery
from api.schemas.fields import Moment, SubjectId, as_utc
from api.schemas.timeline import Offset
from pipelines.labels.detectors import CatalogueEntry
from storage.labels import LabelledRow

Label = Annotated[str, Meta(max_length=256, examples=["pii.email"])]
Labels = Annotated[list[Label], Meta(max_length=1000)]


class LabelsSet(msgspec.Struct, kw_only=True):
    """The labels a memory shall have in place of those it has; none clears them."""

    sensitivity_labels: Annotated[
        list[Label], Meta(max_length=1000, description="Trimmed, in lower case, each once; 32 at most.")
    ]


class LabelledMemoryPath(msgspec.Struct, kw_only=True):
    """Names a memory."""

    memory_id: str


class SuggestedQuery(TenantQuery, kw_only=True):
    """Which suggestions, newest first."""

    subject_id: SubjectId | None = None
    label: Annotated[str, Meta(description="Only memories for which this label is suggested.")] | None = None
    limit: Limit = 50
    offset: Offset = 0


class SuggestedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory with its suggestions."""

    id: UUID
    subject_id: str
    tenant_id: str | None
    kind: str
    content: str
    summary: str
    suggested_labels: list[str]
    sensitivity_labels: list[str]
    created_at: datetime

    @staticmethod
    def of(row: LabelledRow) -> SuggestedMemory:
        values = {name: getattr(row, name) for name in SuggestedMemory.__struct_fields__}
        return SuggestedMemory(**{**values, "tenant_id": row.tenant_id or None})


class SuggestedPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of memories with suggestions, how many match, and every label that may be suggested."""

    memories: list[SuggestedMemory]
    total: int
    limit: int
    offset: int
    catalogue: list[CatalogueEntry]


class LabelsNamed(msgspec.Struct, kw_only=True):
    """Which of the suggestions."""

    labels: Labels


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """What was promoted, and the labels and suggestions of the memory now."""

    memory_id: UUID
    promoted: list[str]
    sensitivity_labels: list[str]
    suggested_labels: list[str]


class Dismissed(msgspec.Struct, frozen=True, kw_only=True):
    """What was dismissed, and the labels and suggestions of the memory now."""

    memory_id: UUID
    dismissed: list[str]
    sensitivity_labels: list[str]
    suggested_labels: list[str]


class BulkSettle(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which suggestions of which memories. Without `confirm` nothing changes and the count is told."""

    labels: Annotated[list[Label], Meta(min_length=1, max_length=32, description="The suggestions that are meant.")]
    tenant_id: TenantId | None = None
    subject_id: SubjectId | None = None
    kind: Annotated[str, Meta(max_length=64)] | None = None
    created_before: Moment | None = None
    confirm: bool = False
    expected_count: Annotated[int, Meta(ge=0, description="What an answer without `confirm` told.")] | None = None

    def __post_init__(self) -> None:
        if self.created_before is not None:
            self.created_before = as_utc(self.created_before)
