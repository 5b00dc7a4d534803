"""What a context is answered with: the text, what is in it, and where each part of it comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from pipelines import context_text
from pipelines.context_text import Delivered
from pipelines.explanation import Explanation
from pipelines.session_signals import EarlierResolution
from storage.passage_columns import Kind
from storage.rows import Episode, Memory

_NONE: Mapping[UUID, Any] = MappingProxyType({})


class ContextRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `max_tokens` bounds the whole text, the task included."""

    subject_id: str
    task: str
    max_tokens: int
    session_id: str | None = None
    caller_id: str | None = None
    caller_type: str | None = None
    explain: bool = False
    #: What was true then (valid time), and what was known then (time of record): `pipelines.history`.
    as_of: datetime | None = None
    known_at: datetime | None = None


class ContextBundle(msgspec.Struct, kw_only=True, omit_defaults=False):
    """The answer, with the field names of the wire."""

    subject_id: str
    task: str
    facts: list[Memory]
    episodes: list[Episode]
    procedures: list[Memory]
    provenance: dict[str, list[str]]
    assembled_context: str
    token_estimate: int
    sessions: list[dict[str, Any]]
    receipt_id: str | None = None
    receipt_emitted: bool = False
    explain: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    #: With `explain`: `semantic`, or `text_fallback` when the task could not be embedded and words alone decided.
    search_mode: str | msgspec.UnsetType = msgspec.UNSET


def bundle_of(
    request: ContextRequest,
    header: str,
    *,
    delivered: Sequence[Delivered] = (),
    memories: Mapping[UUID, Memory] = _NONE,
    episodes: Mapping[UUID, Episode] = _NONE,
    earlier: Sequence[EarlierResolution] = (),
    explanation: Explanation | None = None,
) -> ContextBundle:
    explanation = explanation or Explanation()
    text, tokens, delivered = context_text.within_budget(
        header, delivered, session_id=request.session_id, max_tokens=request.max_tokens
    )
    ids: dict[Kind, list[UUID]] = defaultdict(list)
    for kind, source in dict.fromkeys((item.kind, item.source) for item in delivered):
        ids[kind].append(source)
    included = [episodes[id] for id in ids[Kind.TURN]]
    return ContextBundle(
        subject_id=request.subject_id,
        task=request.task,
        facts=[memories[id] for id in (*ids[Kind.PROFILE_FACT], *ids[Kind.EPISODE_SUMMARY])],
        episodes=included,
        procedures=[memories[id] for id in ids[Kind.PROCEDURE]],
        provenance={
            "fact_ids": [str(id) for id in ids[Kind.PROFILE_FACT]],
            "summary_ids": [str(id) for id in ids[Kind.EPISODE_SUMMARY]],
            "procedure_ids": [str(id) for id in ids[Kind.PROCEDURE]],
            "episode_ids": [str(id) for id in ids[Kind.TURN]],
            **({"resolution_ids": [str(item.end.resolution_id) for item in earlier]} if earlier else {}),
        },
        assembled_context=text,
        token_estimate=tokens,
        sessions=_sessions(included),
        explain=explanation.candidates if request.explain else msgspec.UNSET,
        search_mode=explanation.search_mode,
    )


def _sessions(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """The sessions of the delivered episodes, oldest first, with how many of their episodes were delivered."""
    by_session: dict[str, list[datetime]] = defaultdict(list)
    for episode in episodes:
        if episode.session_id is not None:
            by_session[episode.session_id].append(episode.occurred_at)
    sessions = [
        {"session_id": id, "episode_count": len(times), "first_at": min(times), "last_at": max(times)}
        for id, times in by_session.items()
    ]
    return sorted(sessions, key=lambda session: (session["first_at"], session["session_id"]))
