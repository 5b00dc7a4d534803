"""Policy bundles on the wire (contract: governance §4.5)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import TenantId, TenantQuery
from api.schemas.fields import CallerId, CallerType
from api.schemas.timeline import Offset
from pipelines.policy.bundle import Action, Bundle, Rule
from pipelines.policy.document import MOST_CHARS, BundleProblem
from storage.policies import BundleRow

Document = Annotated[
    str,
    Meta(
        description=f"A policy in YAML or JSON, at most {MOST_CHARS} characters.",
        examples=[
            "version: 1\nrules:\n  - id: hide-pii\n    when: {memory_has_any_label: [pii.email]}\n    action: deny\n"
        ],
    ),
]
BundleHash = Annotated[str, Meta(min_length=1, max_length=64, description="As uploading told it.")]


class BundleDraft(msgspec.Struct, kw_only=True):
    """A document to check."""

    yaml_content: Document


class BundleUpload(BundleDraft, kw_only=True):
    """A document to keep, and for whom; without a tenant it holds for all that have none of their own."""

    tenant_id: TenantId | None = None
    activate: bool = False


class BundleActivation(msgspec.Struct, kw_only=True):
    """Which bundle to put into force, and for whom."""

    bundle_hash: BundleHash
    tenant_id: TenantId | None = None


class BundleScope(msgspec.Struct, kw_only=True):
    """Whose bundle is meant; without a tenant the global one."""

    tenant_id: TenantId | None = None


class BundlePath(msgspec.Struct, kw_only=True):
    """Names a bundle."""

    bundle_hash: BundleHash


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is wrong with a document, and what is doubtful about it. Hash and count only when it is valid."""

    valid: bool
    bundle_hash: str | None
    version: int | None
    rule_count: int | None
    problems: list[BundleProblem]
    warnings: list[BundleProblem]


class BundleUploaded(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that was kept; `active` repeats what was asked for."""

    bundle_hash: str
    version: int
    rule_count: int
    tenant_id: str | None
    active: bool
    warnings: list[BundleProblem]


class BundleSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in a list."""

    bundle_hash: str
    tenant_id: str | None
    active: bool
    created_at: datetime
    created_by: str
    activated_at: datetime | None
    activated_by: str | None


class BundleList(msgspec.Struct, frozen=True, kw_only=True):
    """Bundles, newest first."""

    bundles: list[BundleSummary]


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it was written."""

    id: str
    description: str
    when: dict[str, Any]
    action: Action

    @staticmethod
    def of(rule: Rule) -> RuleView:
        return RuleView(id=rule.id, description=rule.description, when=rule.when, action=rule.action)


class BundleView(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in full."""

    bundle_hash: str
    tenant_id: str | None
    active: bool
    created_at: datetime
    yaml_content: str
    metadata: dict[str, Any]
    rules: list[RuleView]

    @staticmethod
    def of(bundle: Bundle, row: BundleRow) -> BundleView:
        return BundleView(
            bundle_hash=row.bundle_hash,
            tenant_id=row.tenant_id,
            active=row.active,
            created_at=row.created_at,
            yaml_content=row.yaml_content,
            metadata=bundle.metadata,
            rules=[RuleView.of(rule) for rule in bundle.rules],
        )


class ActiveBundle(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle in force; `tenant_id` is null where the global one is."""

    bundle_hash: str
    version: int
    rule_count: int
    tenant_id: str | None
    metadata: dict[str, Any]
    rules: list[RuleView]


class Activated(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force now."""

    bundle_hash: str
    active: bool


class Deactivated(msgspec.Struct, frozen=True, kw_only=True):
    """What was in force; null when nothing was."""

    bundle_hash: str | None
    active: bool


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing had to be done: what is in force is read with every request."""

    reloaded: bool


class SubjectTrial(BundleDraft, kw_only=True):
    """A draft, and the caller to try it as."""

    caller_id: CallerId | None = None
    caller_type: CallerType | None = None


class SubjectTrialQuery(TenantQuery, kw_only=True):
    """Which page of the subject's memories."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Memories at most.")] = 200
    offset: Offset = 0


class TenantTrial(SubjectTrial, kw_only=True):
    """A draft to try on all memories of a tenant."""

    tenant_id: TenantId | None = None
    cursor: Annotated[UUID, Meta(description="`next_cursor` of the page before.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=500, description="Memories at most.")] = 100
