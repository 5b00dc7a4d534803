"""Comparing drafts with stored memories by meaning: likeness finds repetitions, a model decides about what is near.

The model sees each draft with the few stored memories it may concern, and may name one of those or none. Whatever
else it says is not heard, and the draft is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from config.deferred import np
from config.settings import Settings
from pipelines.claims import ClaimKeys
from pipelines.compilation import EPISODE_SUMMARY, DraftMemory, ExistingMemory
from pipelines.llm.answer import Unusable, entries
from pipelines.llm.compiler import Answers, Ask, answer_key
from pipelines.llm.frame import framed, visible
from pipelines.llm.near import Likeness, Neighbour
from pipelines.llm.prompts import actions_schema, reconcile_prompt
from pipelines.providers.breaker import OF_REQUEST
from pipelines.providers.calls import Message, ProviderFailure
from pipelines.verdicts import Action, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ACTIONS: tuple[Action, ...] = ("DUPLICATE", "UPDATE", "DELETE")

#: Names of the list in an answer.
_LISTS = ("actions", "items", "results", "memories")

#: Tokens of answer for each candidate, and for the rest of it.
_TOKENS_PER_CANDIDATE, _TOKENS = 80, 400

#: Characters of a memory that are shown.
_SHOWN_CHARS = 800


class Candidate(msgspec.Struct, frozen=True):
    """A draft, by its place, and the stored memories it may concern, by theirs."""

    index: int
    near: tuple[Neighbour, ...]


def reconcile(
    drafts: Sequence[DraftMemory],
    existing: Sequence[ExistingMemory],
    *,
    settings: Settings,
    vectors: NDArray[np.float32] | None,
    claim_keys: ClaimKeys,
    ask: Ask,
    answers: Answers,
) -> list[Verdict]:
    """Verdicts about drafts that are more than an addition.

    Args:
        existing: active memories of the subject, the newest first.
        vectors: unit rows of the drafts, then of the existing memories; None compares words.

    Raises:
        ProviderFailure: when no model answered.
    """
    likeness = Likeness(drafts, existing, vectors)
    verdicts: list[Verdict] = []
    if settings.dedup_compile_enabled and settings.dedup_semantic_enabled:
        verdicts += likeness.same(threshold=settings.dedup_sim_threshold, among=settings.dedup_max_candidates)
    if not settings.reconcile_compile_enabled:
        return verdicts
    most = settings.reconcile_top_k_per_candidate
    known = {memory.content_hash for memory in existing}
    decided = {verdict.index for verdict in verdicts}
    candidates = [
        Candidate(index, tuple(near))
        for index, draft in enumerate(drafts)
        if draft.kind != EPISODE_SUMMARY
        and index not in decided
        and draft.content_hash not in known
        and not _claims_will_decide(draft, existing, claim_keys)
        and (near := likeness.neighbours(index, most=most, among=settings.reconcile_max_candidates))
    ]
    for chunk in _chunks(candidates, settings):
        verdicts += _asked(chunk, drafts, existing, ask, answers)
    return verdicts


def _claims_will_decide(draft: DraftMemory, existing: Sequence[ExistingMemory], claim_keys: ClaimKeys) -> bool:
    if draft.claim_key is None or claim_keys.cardinality(draft.claim_key) != "single":
        return False
    return any(memory.claim_key == draft.claim_key for memory in existing)


def _chunks(candidates: Sequence[Candidate], settings: Settings) -> Iterator[list[Candidate]]:
    chunk: list[Candidate] = []
    shown: set[int] = set()
    for candidate in candidates:
        more = shown | {neighbour.place for neighbour in candidate.near}
        if chunk and (len(chunk) >= settings.reconcile_chunk_size or len(more) > settings.reconcile_max_existing):
            yield chunk
            chunk, more = [], {neighbour.place for neighbour in candidate.near}
        chunk.append(candidate)
        shown = more
    if chunk:
        yield chunk


def _asked(
    chunk: list[Candidate],
    drafts: Sequence[DraftMemory],
    existing: Sequence[ExistingMemory],
    ask: Ask,
    answers: Answers,
) -> list[Verdict]:
    shown = sorted({neighbour.place for candidate in chunk for neighbour in candidate.near})
    numbers = {place: number for number, place in enumerate(shown)}
    messages = [
        Message("system", reconcile_prompt()),
        Message("user", framed("memories", _records(chunk, shown, numbers, drafts, existing))),
    ]
    key = answer_key(messages)
    kept = answers.get(key)
    if kept is None:
        try:
            result = ask(
                messages,
                json_schema=actions_schema(("ADD", *_ACTIONS)),
                max_tokens=_TOKENS + _TOKENS_PER_CANDIDATE * len(chunk),
            )
            found = entries(result.text, _LISTS)
        except (Unusable, ProviderFailure) as ex:
            if isinstance(ex, ProviderFailure) and ex.reason not in OF_REQUEST:
                raise
            if len(chunk) == 1:
                return []
            middle = len(chunk) // 2
            return [
                verdict
                for half in (chunk[:middle], chunk[middle:])
                for verdict in _asked(half, drafts, existing, ask, answers)
            ]
        kept = msgspec.msgpack.encode((result.usage.model, found))
        answers.keep(key, kept)
    model, actions = msgspec.msgpack.decode(kept, type=tuple[str, list[dict[str, Any]]])
    return _verdicts(actions, chunk, shown, existing, model)


def _records(
    chunk: Sequence[Candidate],
    shown: Sequence[int],
    numbers: Mapping[int, int],
    drafts: Sequence[DraftMemory],
    existing: Sequence[ExistingMemory],
) -> Iterator[dict[str, Any]]:
    for number, place in enumerate(shown):
        yield {"stored": number, **_shown(existing[place])}
    for number, candidate in enumerate(chunk):
        near = [numbers[neighbour.place] for neighbour in candidate.near]
        yield {"candidate": number, **_shown(drafts[candidate.index]), "near": near}


def _shown(memory: DraftMemory | ExistingMemory) -> dict[str, Any]:
    content = visible(memory.content)[:_SHOWN_CHARS]
    return {"kind": memory.kind, "since": f"{memory.valid_from:%Y-%m-%d}", "content": content}


def _verdicts(
    actions: Sequence[Mapping[str, Any]],
    chunk: Sequence[Candidate],
    shown: Sequence[int],
    existing: Sequence[ExistingMemory],
    model: str,
) -> list[Verdict]:
    """Those actions that name a candidate, and a stored memory it was shown beside; the first one for each."""
    verdicts: dict[int, Verdict] = {}
    for entry in actions:
        number, target = _place(entry.get("candidate"), chunk), _place(entry.get("stored"), shown)
        action = str(entry.get("action", "")).strip().upper()
        if number is None or target is None:
            continue
        candidate = chunk[number]
        near = {neighbour.place for neighbour in candidate.near}
        known = next((one for one in _ACTIONS if one == action), None)
        if known is None or shown[target] not in near or number in verdicts:
            continue
        verdicts[number] = Verdict(index=candidate.index, action=known, of=existing[shown[target]].id, model=model)
    return list(verdicts.values())


def _place(value: object, among: Sequence[object]) -> int | None:
    is_place = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(among)
    return value if is_place and isinstance(value, int) else None
