"""What a receipt says (contract: governance §2.2 to §2.5). Pure.

Beyond the contract, in keys of their own: the whole request, the labels that memories had, the mode of the policy, and
how much of the subject was seen (`retrieval`), from which the same context can be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from config.deferred import np
from pipelines.claims import DEFAULT_CLAIM_KEYS
from pipelines.context import Assembly, ContextRequest
from pipelines.policy_decisions import PolicyDecisions
from pipelines.receipts.canonical import Body, Written, is_plain, text_hash, written
from pipelines.receipts.conflict_status import Stated, stated
from pipelines.retrieval import Found, microseconds
from pipelines.support.handoff import Briefing, HandoffRequest
from pipelines.tenant_config import parse
from storage.episodes import EpisodeWithBody
from storage.history import Watermark
from storage.rows import Episode, Memory

#: Version of the rule that turns delivered text into the hashed bytes: as they are.
CANONICALIZATION = 1

#: Decimals that a score keeps: enough to rank by, and the same text everywhere.
SCORE_DECIMALS = 6


class Correlation(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says for its own records. It is copied and never looked into."""

    query_id: str | None = None
    task_id: str | None = None
    parent_receipt_id: str | None = None


def of_context(assembly: Assembly, request: ContextRequest) -> Body:
    """The part of a receipt that a context decides."""
    bundle = assembly.bundle
    memories = [*bundle.facts, *bundle.procedures]
    found = assembly.found
    return {
        "subject_id": request.subject_id,
        "task": request.task,
        "as_of": assembly.now.isoformat(),
        "caller_id": request.caller_id,
        "caller_type": request.caller_type,
        "selected_entries": _entries(memories, bundle.episodes, assembly.scores, assembly.tenant_config),
        "output": _output(bundle.assembled_context, bundle.token_estimate),
        "request": {"surface": "context", **_builtins(request, without=("explain",))},
        "retrieval": _retrieval(found.watermark, found.model, candidates_hash(found, assembly.now)) if found else None,
    }


def of_handoff(briefing: Briefing, request: HandoffRequest) -> Body:
    """The part of a receipt that a handoff decides."""
    handoff = briefing.handoff
    return {
        "subject_id": request.subject_id,
        "task": f"handoff:{request.reason}:{request.session_id}",
        "as_of": handoff.generated_at.isoformat(),
        "caller_id": request.caller_id,
        "caller_type": request.caller_type,
        "selected_entries": _entries(briefing.facts, briefing.episodes, {}, briefing.tenant_config),
        "output": _output(handoff.handoff_notes, handoff.token_estimate),
        "request": {"surface": "handoff", **_builtins(request)},
        "retrieval": _retrieval(briefing.watermark, None, None) if briefing.watermark else None,
    }


def written_entries(entries: list[dict[str, Any]]) -> Written | list[dict[str, Any]]:
    """The entries of a receipt in canonical form, unless a score needs more care than speed."""
    scores = (entry["score"] for entry in entries)
    return written(entries) if all(score is None or is_plain(score) for score in scores) else entries


def policy_of(made: PolicyDecisions) -> Body:
    """What the policy decided."""
    return {
        "policy_bundle_hash": made.bundle_hash,
        "filters_applied": msgspec.to_builtins(made.filters_applied),
        "filters_skipped": msgspec.to_builtins(made.filters_skipped),
        "mode": made.mode,
    }


def written_policy(made: PolicyDecisions) -> Written:
    """`policy_of` in canonical form. PERF: written once for all receipts of the same decisions."""
    if made.written is None:
        made.written = written(policy_of(made))
    return Written(made.written)


def of_policy(
    decisions: PolicyDecisions | None,
    *,
    mode: str,
    captured_at: datetime,
    policy: Callable[[PolicyDecisions], Body | Written] = policy_of,
) -> Body:
    """What the policy decided, and the policy itself."""
    made = decisions or PolicyDecisions(bundle_hash=None, bundle_yaml=None, mode=_mode(mode))
    return {
        "policy": policy(made),
        "policy_snapshot": {
            "bundle_hash": made.bundle_hash,
            "bundle_yaml": made.bundle_yaml,
            "mode": made.mode,
            "captured_at": captured_at.isoformat(),
        },
    }


def candidates_hash(found: Found, now: datetime) -> str:
    """SHA-256 of what was ranked: sources, places in them, which had ended, and how long their vectors were.

    A replay that ranks the same has the same, so two of them say whether the past was rebuilt exactly.
    """
    columns = found.columns
    digest = sha256()
    for column in (columns.source_id, columns.kind, columns.start, columns.stop, columns.scale):
        digest.update(np.ascontiguousarray(column).tobytes())
    digest.update(np.packbits(columns.valid_until > microseconds(now)).tobytes())
    return digest.hexdigest()


def _entries(
    memories: Sequence[Memory],
    episodes: Iterable[Episode | EpisodeWithBody],
    scores: Mapping[UUID, float],
    tenant_config: str | None,
) -> list[dict[str, Any]]:
    claim_keys = DEFAULT_CLAIM_KEYS.with_additions(parse(tenant_config).config.claim_keys or {})
    facts = zip(memories, stated(memories, claim_keys), strict=True)
    delivered = [(memory.id, _memory(memory, fact)) for memory, fact in facts]
    delivered += [(episode.id, _episode(episode)) for episode in episodes]
    entries = [entry for _, entry in delivered]
    for rank, (id, entry) in enumerate(delivered, start=1):
        score = scores.get(id)
        entry["rank"] = rank
        entry["score"] = None if score is None else round(score, SCORE_DECIMALS)
    return entries


def _memory(memory: Memory, claim: Stated) -> dict[str, Any]:
    sources = sorted(map(str, memory.source_episode_ids))
    return {
        "type": "memory",
        "memory_id": str(memory.id),
        "kind": memory.kind,
        "valid_from": memory.valid_from.isoformat(),
        "valid_to": memory.valid_to.isoformat() if memory.valid_to else None,
        "supersession_status": memory.status,
        "source_episode_ids": sources,
        "provenance_hash": text_hash(",".join(sources)),
        "fact_key": claim.fact_key,
        "conflict_status": claim.conflict_status,
        "sensitivity_labels": sorted(memory.sensitivity_labels),
    }


def _episode(episode: Episode | EpisodeWithBody) -> dict[str, Any]:
    return {
        "type": "episode",
        "episode_id": str(episode.id),
        "source": episode.source,
        "event_type": episode.type,
        "occurred_at": episode.occurred_at.isoformat(),
    }


def _output(text: str, tokens: int) -> dict[str, Any]:
    return {
        "context_hash": text_hash(text),
        "context_size_bytes": len(text.encode()),
        "canonicalization_version": CANONICALIZATION,
        "token_estimate": tokens,
    }


def _retrieval(seen: Watermark, model: str | None, candidates: str | None) -> dict[str, Any]:
    return {**_builtins(seen), "model": model, "candidates_hash": candidates}


def _builtins(value: msgspec.Struct, *, without: Iterable[str] = ()) -> dict[str, Any]:
    left_out = frozenset(without)
    return {
        name: item.isoformat() if isinstance(item, datetime) else item
        for name, item in msgspec.structs.asdict(value).items()
        if name not in left_out
    }


def _mode(mode: str) -> Any:
    return "enforce" if mode == "enforce" else "log_only"
