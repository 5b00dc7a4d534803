"""Memories that the client wrote itself: `payload.statewave.memory_candidates`.

All or nothing: one candidate that is not valid discards the episode's set, and the episode is compiled as if it had
none. A valid set replaces what a compiler would have found, the episode's summary included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines.claims import CLAIM_KEY, CLAIM_SCHEMA_VERSION, claim_metadata
from pipelines.compilation import (
    EPISODE_SUMMARY,
    PROCEDURE,
    PROFILE_FACT,
    SUMMARY_CHARS,
    DraftMemory,
    EpisodeInput,
    content_hash,
    shorten,
)
from pipelines.temporal_anchor import parse_when

DEFAULT_CONFIDENCE = 0.9

#: Kinds that candidates may name, and the kind that is stored.
KINDS = {
    "profile_fact": PROFILE_FACT,
    "domain_fact": PROFILE_FACT,
    "fact": PROFILE_FACT,
    "episode_summary": EPISODE_SUMMARY,
    "procedure": PROCEDURE,
}


class CandidateRefused(ValueError):
    """A structured candidate is not valid; the text names it and its fault."""


def has_candidates(payload: Mapping[str, Any]) -> bool:
    """Tell whether the client supplied candidates, valid or not."""
    return _candidates(payload) is not None


def explain_candidates(payload: Mapping[str, Any]) -> str | None:
    """Say why the supplied set is refused; None if it is valid or there is none."""
    try:
        for place, candidate in enumerate(_candidates(payload) or []):
            _check(candidate, place)
    except CandidateRefused as ex:
        return str(ex)
    return None


def draft_candidates(episode: EpisodeInput, *, anchor: datetime) -> list[DraftMemory] | None:
    """Draft the client's own memories.

    Args:
        episode: The episode whose payload may hold candidates.
        anchor: When the memories become valid, unless a candidate's claim says otherwise.

    Returns:
        One draft per candidate; None if there are no candidates or one of them is not valid.
    """
    candidates = _candidates(episode.payload)
    if candidates is None:
        return None
    try:
        return [_draft(episode, candidate, place, anchor) for place, candidate in enumerate(candidates)]
    except CandidateRefused:
        return None


def _candidates(payload: Mapping[str, Any]) -> list[Any] | None:
    supplied = payload.get("statewave")
    if not isinstance(supplied, dict):
        return None
    candidates = supplied.get("memory_candidates")
    return candidates if isinstance(candidates, list) and candidates else None


def _draft(episode: EpisodeInput, candidate: object, place: int, anchor: datetime) -> DraftMemory:
    valid = _check(candidate, place)
    content = valid["text"].replace("\0", "").strip()
    metadata = {**(valid.get("metadata") or {}), "compiler": "structured", "position": [episode.seq, place, 0]}
    claim = valid.get("claim")
    key = value = None
    valid_from = anchor
    if claim is not None:
        key, value = claim["key"], _claim_value(claim["value"])
        valid_from = parse_when(claim.get("valid_from")) or anchor
        metadata["claim"] = claim_metadata(key, value, valid_from)
    return DraftMemory(
        kind=KINDS[valid["kind"]],
        content=content,
        summary=shorten(content, SUMMARY_CHARS),
        confidence=float(DEFAULT_CONFIDENCE if valid.get("confidence") is None else valid["confidence"]),
        valid_from=valid_from,
        source_episode_ids=[episode.id],
        metadata=metadata,
        claim_key=key,
        claim_value=value,
        content_hash=content_hash(content),
    )


def _check(candidate: object, place: int) -> dict[str, Any]:
    where = f"memory_candidates[{place}]"
    if not isinstance(candidate, dict):
        raise CandidateRefused(f"{where}: must be an object")
    kind, text = candidate.get("kind"), candidate.get("text")
    if not isinstance(kind, str) or kind not in KINDS:
        raise CandidateRefused(f"{where}.kind: must be one of {', '.join(KINDS)}")
    if not isinstance(text, str) or not text.replace("\0", "").strip():
        raise CandidateRefused(f"{where}.text: must be text that is not empty")
    if not isinstance(candidate.get("metadata") or {}, dict):
        raise CandidateRefused(f"{where}.metadata: must be an object")
    confidence = candidate.get("confidence")
    if confidence is not None and not _is_share(confidence):
        raise CandidateRefused(f"{where}.confidence: must be a number from 0 to 1")
    if candidate.get("claim") is not None:
        _check_claim(candidate["claim"], f"{where}.claim")
    return candidate


def _check_claim(claim: object, where: str) -> None:
    if not isinstance(claim, dict):
        raise CandidateRefused(f"{where}: must be an object")
    if claim.get("schema_version", CLAIM_SCHEMA_VERSION) != CLAIM_SCHEMA_VERSION:
        raise CandidateRefused(f"{where}.schema_version: must be {CLAIM_SCHEMA_VERSION}")
    key = claim.get("key")
    if not isinstance(key, str) or not CLAIM_KEY.fullmatch(key):
        raise CandidateRefused(f"{where}.key: must be lower-case words joined by dots")
    if not _claim_value(claim.get("value")):
        raise CandidateRefused(f"{where}.value: must be text, a number or a boolean, and not empty")
    if claim.get("valid_from") is not None and parse_when(claim["valid_from"]) is None:
        raise CandidateRefused(f"{where}.valid_from: must be a date and time")


def _claim_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value).replace("\0", "").strip()
    return ""


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1
