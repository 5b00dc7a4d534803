"""Exporting and importing subjects (contract: core §13, governance §15.1, and beyond it)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import TenantQuery
from api.schemas.fields import SubjectId
from api.schemas.receipts import Receipt
from pipelines.portability.cloning import CloneScope

Target = Annotated[str, Meta(max_length=256, description="Tenant that it goes to; else the one it came from.")]
IncludeErased = Annotated[bool, Meta(description="Take in also what was erased, which is otherwise left out.")]
PreserveIds = Annotated[bool, Meta(description="Keep the ids; otherwise new ones that follow from them.")]


class ExportQuery(TenantQuery, kw_only=True):
    """Whose subject is meant, and in which form it travels."""

    format: Annotated[
        Literal["json", "jsonl"],
        Meta(description="One JSON object, or JSON lines, for subjects of any size."),
    ] = "json"
    format_version: Annotated[
        Literal["1.0", "1.1"], Meta(description="1.1 is lossless; 1.0 is for servers that know no other.")
    ] = "1.1"
    include_receipts: Annotated[
        bool,
        Meta(description="Add what was delivered of the subject, for whoever asks who saw it. Imports leave it out."),
    ] = False


class ExportedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject as it stood at one moment. Rows have the columns of their tables."""

    format_version: Literal["1.0", "1.1"]
    exported_at: str
    subject_id: str
    tenant_id: str | None
    counts: dict[str, int]
    episodes: list[dict[str, Any]]
    memories: list[dict[str, Any]]
    checksum: str
    format: str = ""
    memory_versions: list[dict[str, Any]] = []
    resolutions: list[dict[str, Any]] = []
    resolution_changes: list[dict[str, Any]] = []
    passage_blocks: list[dict[str, Any]] = []
    passage_vectors: list[dict[str, Any]] = []
    receipts: list[Receipt] = []


class ImportRequest(msgspec.Struct, kw_only=True):
    """A document, and how it is to be taken in."""

    document: dict[str, msgspec.Raw]
    target_subject_id: SubjectId | None = None
    target_tenant_id: Target | None = None
    preserve_ids: PreserveIds = True
    include_erased: IncludeErased = False


class ImportLinesQuery(msgspec.Struct, kw_only=True):
    """How documents in JSON lines are to be taken in."""

    target_subject_id: SubjectId | None = None
    target_tenant_id: Target | None = None
    preserve_ids: PreserveIds = True
    include_erased: IncludeErased = False


class CloneRequest(msgspec.Struct, kw_only=True):
    """What is copied, and under which id."""

    source_subject_id: SubjectId
    target_subject_id: SubjectId
    #: Contract: governance §15.4. It is handed back and not kept.
    target_display_name: Annotated[str, Meta(max_length=256)] | None = None
    tenant_id: Annotated[str, Meta(max_length=256, description="Whose subject is meant.")] | None = None
    target_tenant_id: Annotated[str, Meta(max_length=256, description="Else the tenant of the source.")] | None = None
    clone_scope: CloneScope = "episodes_and_memories"


class CloneDone(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was made."""

    status: Literal["cloned"]
    source_subject_id: str
    target_subject_id: str
    target_tenant_id: str | None
    target_display_name: str | None
    clone_scope: CloneScope
    episode_count: int
    memory_count: int
    source_count: int
    cloned_at: datetime
