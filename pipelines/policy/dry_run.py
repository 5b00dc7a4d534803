"""Dry runs: which stored memories a draft of a policy would hide from a caller. Nothing is written."""

from __future__ import annotations

from collections import Counter
from typing import Literal
from uuid import UUID

import msgspec

from pipelines.policy.bundle import Bundle
from pipelines.policy.bundles import require_bundle
from pipelines.policy.evaluation import Caller, Firing, Judge
from pipelines.policy.judgement import judge_subject
from pipelines.policy.reader import read_bundle
from pipelines.services import Services
from storage import dry_runs, policies
from storage.dry_runs import PreviewedMemory
from storage.transactions import tenant_transaction

Outcome = Literal["allow", "deny", "redact"]


class JudgedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a memory. Denied without a rule: it repeats what another of its episode says."""

    memory_id: UUID
    subject_id: str
    kind: str
    content_preview: str
    sensitivity_labels: list[str]
    action: Outcome
    rule_id: str | None
    matched_labels: list[str]


class SubjectDryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a draft would do to a subject. The counts are of all its active memories, `results` is one page of them."""

    results: list[JudgedMemory]
    total_memories: int
    allowed: int
    denied: int
    redacted: int
    withheld_episodes: int
    error: str | None = None


class RuleCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many memories a rule would decide about."""

    rule_id: str
    action: Outcome
    memories: int


class TenantDryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules of a draft would do to a tenant: counts of everything, and a page of what would be hidden.

    What would be hidden besides, because it repeats what is hidden, is told subject by subject.
    """

    total_memories: int
    allowed: int
    denied: int
    redacted: int
    rules: list[RuleCount]
    memories: list[JudgedMemory]
    next_cursor: str | None


def try_on_subject(
    services: Services, tenant_id: str, subject_id: str, text: str, caller: Caller, *, limit: int, offset: int
) -> SubjectDryRun:
    """Judge a subject by a draft. A draft with problems judges nothing and tells the first of them."""
    reading = read_bundle(text)
    if reading.bundle is None:
        first = reading.problems[0]
        return SubjectDryRun(
            results=[],
            total_memories=0,
            allowed=0,
            denied=0,
            redacted=0,
            withheld_episodes=0,
            error=f"line {first.line}: {first.message}",
        )
    judge = Judge(reading.bundle, caller)
    with tenant_transaction(services.pool, tenant_id) as conn:
        labels = policies.subject_labels(conn, tenant_id, subject_id)
        page, total = dry_runs.memories_of_subject(conn, tenant_id, subject_id, limit=limit, offset=offset)
    judgement = judge_subject(judge, labels)
    visibility = judgement.visibility
    active = {memory.id for memory in (*labels.labelled, *labels.siblings) if memory.status == "active"}
    plain = total - sum(memory.status == "active" for memory in labels.labelled)
    unlabelled = visibility.unlabelled.action if visibility.unlabelled else None
    redacted = len(active & visibility.redacted) + (plain if unlabelled == "redact" else 0)
    denied = len(active & visibility.denied)
    if unlabelled is not None:
        of_siblings = sum(m.status == "active" and m.id in visibility.denied for m in labels.siblings)
        denied += plain - of_siblings if unlabelled == "deny" else 0
        redacted -= of_siblings if unlabelled == "redact" else 0
    return SubjectDryRun(
        results=[
            _judged(
                memory,
                judge.decide(memory.labels),
                repeats=memory.id in visibility.denied,
            )
            for memory in page
        ],
        total_memories=total,
        allowed=total - denied - redacted,
        denied=denied,
        redacted=redacted,
        withheld_episodes=len(visibility.withheld_episodes),
    )


def try_on_tenant(
    services: Services, tenant_id: str, text: str, caller: Caller, *, cursor: UUID | None, limit: int
) -> TenantDryRun:
    """Judge every active memory of a tenant by the rules of a draft.

    Raises:
        BadRequest: when the draft has problems.
    """
    bundle = require_bundle(text)
    judge = Judge(bundle, caller)
    with tenant_transaction(services.pool, tenant_id) as conn:
        counted = [(labels, count, judge.decide(labels)) for labels, count in dry_runs.label_sets(conn, tenant_id)]
        hidden = [labels for labels, _, firing in counted if firing is not None]
        page = dry_runs.memories_labelled(conn, tenant_id, hidden, after=cursor, limit=limit + 1) if hidden else []
    by_action: Counter[str] = Counter()
    by_rule: Counter[str] = Counter()
    for _, count, firing in counted:
        by_action[firing.action if firing else "allow"] += count
        if firing:
            by_rule[firing.rule_id] += count
    return TenantDryRun(
        total_memories=by_action.total(),
        allowed=by_action["allow"],
        denied=by_action["deny"],
        redacted=by_action["redact"],
        rules=_rule_counts(bundle, by_rule),
        memories=[_judged(memory, judge.decide(memory.labels), repeats=False) for memory in page[:limit]],
        next_cursor=str(page[limit - 1].id) if len(page) > limit else None,
    )


def _rule_counts(bundle: Bundle, by_rule: Counter[str]) -> list[RuleCount]:
    return [RuleCount(rule_id=rule.id, action=rule.action, memories=by_rule[rule.id]) for rule in bundle.rules]


def _judged(memory: PreviewedMemory, firing: Firing | None, *, repeats: bool) -> JudgedMemory:
    # A repetition of a denied text is denied, also where a rule would only redact what has no labels.
    is_direct = firing is not None and not (repeats and firing.action == "redact" and not memory.labels)
    return JudgedMemory(
        memory_id=memory.id,
        subject_id=memory.subject_id,
        kind=memory.kind,
        content_preview=memory.preview,
        sensitivity_labels=memory.labels,
        action=firing.action if firing is not None and is_direct else "deny" if repeats else "allow",
        rule_id=firing.rule_id if firing is not None and is_direct else None,
        matched_labels=list(firing.matched_labels) if firing is not None and is_direct else [],
    )
