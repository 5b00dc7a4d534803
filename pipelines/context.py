"""Assembling context: what an agent should know for its task, within its budget, each part traceable.

Deterministic: the same rows, request and clock give the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from config.clock import utcnow
from pipelines import context_text
from pipelines.context_parts import explained, plain_episode, sessions_of
from pipelines.context_text import Delivered
from pipelines.history import World, world_of
from pipelines.packing import Selection, pack, rank
from pipelines.passages import turn_line
from pipelines.policy.in_force import PolicyInForce, reading_on
from pipelines.policy.notes import load_notes
from pipelines.policy_decisions import PolicyDecisions
from pipelines.rerank import reranked
from pipelines.retrieval import Found, find_passages, is_visible, microseconds, sources_of
from pipelines.services import Services
from pipelines.session_context import in_situation, read_situation, with_earlier
from pipelines.session_signals import EarlierResolution
from pipelines.speakers import ROLES, speaker_hash
from pipelines.tokens import count_tokens
from storage import episodes as episode_rows
from storage import memories as memory_rows
from storage.episodes import EpisodeWithBody
from storage.passage_columns import Kind, PassageColumns
from storage.reading import ReaderState
from storage.rows import Episode, Memory
from storage.transactions import Connection

#: Candidates that are ranked for delivery, per token of the budget. The cheapest lines cost about ten tokens.
CANDIDATES_PER_TOKEN = 0.25
LEAST_CANDIDATES = 200

_NONE: Mapping[UUID, Any] = MappingProxyType({})

#: PERF: an attribute of an enumeration costs a search through its class.
_TURN = Kind.TURN
_KINDS = {int(kind): kind for kind in Kind}

_ROLE_NAMES = {speaker_hash(role): role for role in ROLES.values()}


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


@dataclass(frozen=True, slots=True)
class Assembly:
    """A bundle, and what a receipt says of how it came about."""

    bundle: ContextBundle
    #: The moment that everything was resolved against.
    now: datetime
    tenant_config: str | None
    #: What the policy decided.
    decisions: PolicyDecisions
    #: What was ranked; None where nothing is stored of the subject.
    found: Found | None = None
    #: What the ranking thought of the delivered sources.
    scores: Mapping[UUID, float] = field(default_factory=dict)


def assemble_context(
    services: Services,
    tenant_id: str,
    request: ContextRequest,
    *,
    policy: PolicyInForce | None = None,
    now: datetime | None = None,
) -> ContextBundle:
    """Rank everything stored of the subject for the task and deliver the best that fits.

    An unknown subject gets the task and nothing else. The text never exceeds `max_tokens`; a task that is longer
    than that alone is shortened. What the policy hides from the caller is left out before anything is ranked.

    Args:
        policy: The policy to answer under; None for the one in force.
        now: The clock: what "yesterday" counts from and what has expired.

    Raises:
        Unauthenticated: when the tenant wants to know who asks, and the request does not say.
    """
    return assemble(services, tenant_id, request, policy=policy, now=now).bundle


def assemble(
    services: Services,
    tenant_id: str,
    request: ContextRequest,
    *,
    policy: PolicyInForce | None = None,
    now: datetime | None = None,
    world: World | None = None,
) -> Assembly:
    """As `assemble_context`, with what a receipt says of it.

    Args:
        world: The subject as somebody saw it; None for the one that the request names.
    """
    with assembling(services, tenant_id, request, policy=policy, now=now, world=world) as (assembly, _, _):
        return assembly


@contextmanager
def assembling(
    services: Services,
    tenant_id: str,
    request: ContextRequest,
    *,
    policy: PolicyInForce | None = None,
    now: datetime | None = None,
    world: World | None = None,
    wants_receipt: bool = False,
) -> Iterator[tuple[Assembly, Connection, ReaderState]]:
    """As `assemble`, with the transaction that it was read in, which ends with the block unless that has ended it.

    Args:
        wants_receipt: Whether a receipt is asked for, so that the end of the tenant's chain is read as well.
    """
    now = now or request.as_of or request.known_at or utcnow()
    world = world or world_of(request.known_at, request.as_of, now=utcnow())
    with world.open(services, tenant_id, request.subject_id, wants_receipt=wants_receipt) as (conn, state):
        yield _assembled(services, conn, state, tenant_id, request, policy=policy, now=now, world=world), conn, state


def _assembled(
    services: Services,
    conn: Connection,
    state: ReaderState,
    tenant_id: str,
    request: ContextRequest,
    *,
    policy: PolicyInForce | None,
    now: datetime,
    world: World,
) -> Assembly:
    header = context_text.task_header(request.task, request.max_tokens)
    reader = reading_on(
        conn, state, tenant_id, request.caller_id, request.caller_type, kept=services.judgements, policy=policy
    )
    judgement = reader.judgement(request.subject_id)
    visibility = reader.acted_upon(judgement)
    found = find_passages(
        conn,
        tenant_id,
        request.subject_id,
        task=request.task,
        services=services,
        now=now,
        visibility=visibility,
        world=world,
        cache=services.passages,
    )
    decisions = reader.decisions(judgement, found.stored if found else None)
    if found is None:
        return Assembly(_bundle(request, header), now, state.config_text, decisions)
    situation = read_situation(
        conn,
        tenant_id,
        request.subject_id,
        found,
        task=request.task,
        session_id=request.session_id,
        visibility=visibility,
        valid_at=request.as_of,
    )
    earlier: list[EarlierResolution] = []
    if situation is not None:
        found = in_situation(found, situation)
        header, earlier = with_earlier(header, situation.earlier, request.max_tokens)
    notes, noted = load_notes(
        conn, tenant_id, request.subject_id, visibility, found.stored, now=now, known=judgement.notes
    )
    if len(found.columns) == 0:
        empty = _bundle(request, header, delivered=notes, memories=noted, earlier=earlier)
        return Assembly(empty, now, state.config_text, decisions, found)
    if not found.is_related:
        header = context_text.with_nothing_related(header, request.max_tokens)
        unrelated = _bundle(request, header, delivered=notes, memories=noted)
        return Assembly(unrelated, now, state.config_text, decisions, found)
    found = reranked(services, conn, tenant_id, request.subject_id, found, task=request.task, now=now)
    selection = _select(found, request, request.max_tokens - count_tokens(header), now)
    memories, episodes = _load_sources(conn, tenant_id, request.subject_id, found, selection.chosen)
    if request.as_of is None:
        memories = {id: memory for id, memory in memories.items() if is_visible(memory, now)}
    if visibility.hides_anything:
        memories = {id: visibility.shown(memory) for id, memory in memories.items()} | noted
    ranked = _delivered(found, selection, memories, episodes, now)
    bundle = _bundle(
        request,
        header,
        delivered=[*ranked, *notes],
        memories=memories,
        episodes=episodes,
        earlier=earlier,
        explain=explained(found, situation, selection) if request.explain else None,
        search_mode=("semantic" if found.is_semantic else "text_fallback") if request.explain else msgspec.UNSET,
    )
    scores = {item.source: float(found.scores.total[item.row]) for item in reversed(ranked)}
    return Assembly(bundle, now, state.config_text, decisions, found, scores)


def _select(found: Found, request: ContextRequest, budget: int, now: datetime) -> Selection:
    most = max(LEAST_CANDIDATES, int(request.max_tokens * CANDIDATES_PER_TOKEN))
    order = rank(found.columns, found.scores, now=microseconds(now), most=most)
    return pack(found.columns, order, budget=budget - context_text.session_header_cost(request.session_id))


def _load_sources(
    conn: Connection, tenant_id: str, subject_id: str, found: Found, rows: Sequence[int]
) -> tuple[dict[UUID, Memory], dict[UUID, EpisodeWithBody]]:
    chosen = np.asarray(rows, dtype=np.intp)
    are_turns = found.columns.kind[chosen] == Kind.TURN
    turns = set(sources_of(found.columns, chosen[are_turns]))
    others = set(sources_of(found.columns, chosen[~are_turns]))
    memories = memory_rows.memories_by_ids(conn, tenant_id, subject_id, sorted(others)) if others else {}
    episodes = episode_rows.episodes_by_ids(conn, tenant_id, subject_id, sorted(turns)) if turns else {}
    return memories, episodes


def _delivered(
    found: Found,
    selection: Selection,
    memories: dict[UUID, Memory],
    episodes: dict[UUID, EpisodeWithBody],
    now: datetime,
) -> list[Delivered]:
    """The chosen passages with their words, best first. What ended since it was ranked is left out."""
    names = _ROLE_NAMES | {speaker_hash(name): name for name in found.speakers}
    columns = found.columns
    delivered = []
    for row, source, kind, start, stop, speaker, at in _places(columns, selection.chosen):
        if kind is _TURN:
            episode = episodes.get(source)
            if episode is None:
                continue
            words = episode.body[start:stop]
        else:
            memory = memories.get(source)
            if memory is None:
                continue
            episode, words = None, memory.content
        if selection.cut is not None and selection.cut[0] == row:
            words = _cut(words, names.get(speaker, ""), selection.cut[1])
        delivered.append(
            Delivered(
                row=row,
                source=source,
                kind=kind,
                text=words,
                speaker=names.get(speaker, ""),
                at=datetime.fromtimestamp(at / 1_000_000, tz=now.tzinfo),
                session_id=episode.session_id if episode else None,
            )
        )
    return delivered


def _places(columns: PassageColumns, rows: Sequence[int]) -> Iterator[tuple[int, UUID, Kind, int, int, int, int]]:
    """Of each row: its number, source, kind, start and stop in the source, speaker, and time in microseconds."""
    chosen = np.asarray(rows, dtype=np.intp)
    return zip(
        rows,
        sources_of(columns, chosen),
        map(_KINDS.__getitem__, columns.kind[chosen].tolist()),
        *(column[chosen].tolist() for column in (columns.start, columns.stop, columns.speaker, columns.occurred_at)),
        strict=True,
    )


def _cut(words: str, speaker: str, tokens: int) -> str:
    """The beginning of words whose line may cost so many tokens."""
    frame = count_tokens(turn_line("", speaker)) + 1
    return context_text.shorten(words, tokens - frame)


def _bundle(
    request: ContextRequest,
    header: str,
    *,
    delivered: Sequence[Delivered] = (),
    memories: Mapping[UUID, Memory] = _NONE,
    episodes: Mapping[UUID, EpisodeWithBody] = _NONE,
    earlier: Sequence[EarlierResolution] = (),
    explain: list[dict[str, Any]] | None = None,
    search_mode: str | msgspec.UnsetType = msgspec.UNSET,
) -> ContextBundle:
    text, tokens, delivered = context_text.within_budget(
        header, delivered, session_id=request.session_id, max_tokens=request.max_tokens
    )
    ids: dict[Kind, list[UUID]] = defaultdict(list)
    for kind, source in dict.fromkeys((item.kind, item.source) for item in delivered):
        ids[kind].append(source)
    included = [plain_episode(episodes[id]) for id in ids[Kind.TURN]]
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
        sessions=sessions_of(included),
        explain=explain if explain is not None else msgspec.UNSET,
        search_mode=search_mode,
    )
