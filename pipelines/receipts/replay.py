"""Replaying receipts (contract: governance §2.12), in both senses.

With the memories of now: what would the same request get today, under the policy of then? With the memories as they
were recorded: the same bytes again, from the history of versions, or the reason why that is impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from config.clock import utcnow
from config.errors import ValidationFailed
from pipelines.context import ContextRequest, assemble
from pipelines.history import PRESENT, HistoryGone, NothingStored, Past, TrueThen, World, world_of
from pipelines.policy.bundle import Mode
from pipelines.policy.in_force import PolicyInForce
from pipelines.policy.reader import read_bundle
from pipelines.receipts import body as bodies
from pipelines.receipts.body import Correlation
from pipelines.receipts.canonical import Body
from pipelines.receipts.emission import REPLAY, emit
from pipelines.receipts.reading import body_of
from pipelines.services import Services
from pipelines.support.handoff import HandoffRequest, brief
from storage.history import Watermark
from storage.receipts import StoredReceipt

Memories = Literal["current", "as_recorded"]

#: How far clocks of machines may be apart. A receipt names its snapshot, which is exact; the time beside it only
#: matters for databases that were restored elsewhere, where numbers of transactions begin again.
CLOCK_SKEW = timedelta(minutes=5)


class HashChange(msgspec.Struct, frozen=True, kw_only=True):
    """A hash then and now."""

    original: str | None
    replay: str | None
    changed: bool


class ReplayDiff(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay differs from what was delivered."""

    context_hash: HashChange
    selected_entries: dict[str, Any]
    filters_applied: dict[str, Any]


class ReplayOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a replay. The id is null when no receipt of it was written."""

    original_receipt_id: str
    replay_receipt_id: str | None
    memories: Memories
    diff: ReplayDiff


def replay(services: Services, row: StoredReceipt, *, memories: Memories = "current") -> ReplayOutcome:
    """Make a receipt's context or handoff again and compare. The receipt itself is not touched.

    Raises:
        ValidationFailed: `unreplayable.<reason>` when it cannot be done.
    """
    original = body_of(row)
    _require_replayable(original, row)
    try:
        made, config, decisions = _again(services, row.tenant_id, original, memories)
    except HistoryGone as ex:
        raise unreplayable(ex.reason, str(ex)) from None
    except (KeyError, TypeError, ValueError, msgspec.ValidationError):
        raise unreplayable("invalid_snapshot", "the receipt does not say what was asked") from None
    if memories == "as_recorded":
        _require_same_candidates(original, made)
    replay_id = emit(
        services,
        row.tenant_id,
        config,
        lambda: {**made, "replayed_memories": memories},
        decisions,
        True,
        Correlation(
            query_id=original.get("query_id"), task_id=original.get("task_id"), parent_receipt_id=row.receipt_id
        ),
        mode=REPLAY,
    )
    now = bodies.of_policy(decisions, mode=_mode(original), captured_at=row.created_at)
    seen = {**made, **now} if replay_id or memories == "as_recorded" else None
    return ReplayOutcome(
        original_receipt_id=row.receipt_id,
        replay_receipt_id=replay_id,
        memories=memories,
        diff=difference(original, seen),
    )


def difference(original: Body, made: Body | None) -> ReplayDiff:
    """Compare two bodies; without the second everything counts as removed (contract: governance §2.12)."""
    then = original.get("output", {}).get("context_hash")
    now = made["output"]["context_hash"] if made else None
    entries = _compare(
        original.get("selected_entries", []), made["selected_entries"] if made else [], _entry_key, count_common=True
    )
    filters = _compare(
        original.get("policy", {}).get("filters_applied", []),
        made["policy"]["filters_applied"] if made else [],
        lambda item: (item.get("rule_id"), item.get("memory_id"), item.get("action")),
    )
    return ReplayDiff(
        context_hash=HashChange(original=then, replay=now, changed=now is None or then != now),
        selected_entries=entries,
        filters_applied=filters,
    )


def unreplayable(reason: str, message: str) -> ValidationFailed:
    """The refusal of a replay, with the contract's code."""
    return ValidationFailed(message, code=f"unreplayable.{reason}")


def _require_replayable(original: Body, row: StoredReceipt) -> None:
    """The contract's checks in the contract's order."""
    if row.mode == REPLAY:
        raise unreplayable("nested_replay", "a replay is not replayed; replay the receipt that it was made from")
    if original.get("damaged"):
        raise unreplayable("invalid_snapshot", "the receipt is damaged")
    if original.get("policy_snapshot") is None:
        raise unreplayable("missing_policy_snapshot", "the receipt does not hold the policy that was in force")
    if not original.get("task"):
        raise unreplayable("invalid_snapshot", "the receipt does not say what was asked")


def _again(services: Services, tenant_id: str, original: Body, memories: Memories) -> tuple[Body, str | None, Any]:
    """The body of the same request, answered again."""
    asked = dict(original.get("request") or {})
    surface = asked.pop("surface", "context")
    asked.setdefault("subject_id", original["subject_id"])
    as_recorded = memories == "as_recorded"
    if as_recorded:
        _require_model(services, original)
    now = datetime.fromisoformat(original["as_of"]) if as_recorded else None
    if surface == "handoff":
        request = msgspec.convert(asked, HandoffRequest)
        world = _recorded_world(original, None, None) if as_recorded else PRESENT
        briefing = brief(services, tenant_id, request, now=now, world=world, policy=_recorded_policy(original))
        return bodies.of_handoff(briefing, request), briefing.tenant_config, briefing.decisions
    asked.setdefault("task", original["task"])
    asked.setdefault("max_tokens", services.settings.default_max_context_tokens)
    wanted = msgspec.convert(asked, ContextRequest)
    if as_recorded:
        world = _recorded_world(original, wanted.known_at, wanted.as_of)
    else:
        world = world_of(wanted.known_at, wanted.as_of, now=utcnow())
    assembly = assemble(services, tenant_id, wanted, now=now, world=world, policy=_recorded_policy(original))
    return bodies.of_context(assembly, wanted), assembly.tenant_config, assembly.decisions


def _recorded_policy(original: Body) -> PolicyInForce:
    """The policy that the receipt was made under, whatever is in force now."""
    text = (original.get("policy_snapshot") or {}).get("bundle_yaml")
    mode: Mode = "enforce" if _mode(original) == "enforce" else "log_only"
    if text is None:
        return PolicyInForce(mode=mode)
    bundle = read_bundle(text).bundle
    if bundle is None:
        raise unreplayable("invalid_snapshot", "the policy in the receipt cannot be read")
    return PolicyInForce(bundle=bundle, yaml_content=text, mode=mode)


def _recorded_world(original: Body, known_at: datetime | None, valid_at: datetime | None) -> World:
    seen = original.get("retrieval")
    if seen is None:
        return NothingStored()
    watermark = msgspec.convert({name: seen[name] for name in Watermark.__struct_fields__}, Watermark)
    written = datetime.fromisoformat(original["created_at"])
    world: World = Past(
        known_at or written + CLOCK_SKEW, watermark=watermark, labels_then=True, model=seen.get("model")
    )
    return TrueThen(world, valid_at) if valid_at is not None else world


def _require_model(services: Services, original: Body) -> None:
    seen = original.get("retrieval") or {}
    model = seen.get("model")
    embedder = services.embedder_of(model) if model else services.embedder
    if seen.get("candidates_hash") and model != (embedder.model if embedder else None):
        raise unreplayable("model_unavailable", f"it was ranked with the model {seen.get('model')}")


def _require_same_candidates(original: Body, made: Body) -> None:
    """The proof that the past was rebuilt and not imagined: the very same candidates were ranked."""
    then, now = ((body.get("retrieval") or {}).get("candidates_hash") for body in (original, made))
    if then != now:
        raise unreplayable("candidates_differ", "what was ranked then is not stored as it was")


def _compare(
    then: Sequence[dict[str, Any]],
    now: Sequence[dict[str, Any]],
    key: Callable[[dict[str, Any]], Any],
    *,
    count_common: bool = False,
) -> dict[str, Any]:
    before, after = {key(item) for item in then}, {key(item) for item in now}
    compared: dict[str, Any] = {
        "added": [item for item in now if key(item) not in before],
        "removed": [item for item in then if key(item) not in after],
    }
    if count_common:
        compared["common"] = len(before & after)
    return compared


def _entry_key(entry: dict[str, Any]) -> Any:
    return entry.get("memory_id") or entry.get("episode_id")


def _mode(original: Body) -> str:
    return str(original.get("policy", {}).get("mode", "log_only"))
