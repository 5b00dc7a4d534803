"""What a policy decided about one request, as receipts record it (contract: governance §2.4).

Made by whoever evaluates the tenant's policy, read by whoever proves what was delivered under it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Action = Literal["deny", "redact"]
Mode = Literal["log_only", "enforce"]


class AppliedFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fired for a memory. Recorded in both modes; only `enforce` acts on it."""

    memory_id: str
    rule_id: str
    action: Action
    matched_labels: list[str]


class SkippedFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fired for no memory."""

    rule_id: str
    action: Action
    matched: bool = False


class PolicyDecisions(msgspec.Struct, kw_only=True):
    """The bundle that was in force, and what its rules did. Hash and text are null where no bundle is active.

    Answers share it (`Judgement.decided`), so nobody changes what it says.
    """

    bundle_hash: str | None
    bundle_yaml: str | None
    mode: Mode
    filters_applied: list[AppliedFilter] = []
    filters_skipped: list[SkippedFilter] = []
    #: All of it as receipts write it, once one has.
    written: str | None = None
