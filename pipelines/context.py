"""Assembling context: what an agent should know for its task, within its budget, each part traceable.

Deterministic: the same rows, request and clock give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from config.clock import utcnow
from pipelines import context_text
from pipelines.context_bundle import ContextBundle, ContextRequest, bundle_of
from pipelines.context_selection import delivered_of, load_sources, nothing_of, select
from pipelines.explanation import explain
from pipelines.history import World, world_of
from pipelines.policy.in_force import PolicyInForce, reading_on
from pipelines.policy.notes import load_notes
from pipelines.policy_decisions import PolicyDecisions
from pipelines.rerank import reranked
from pipelines.retrieval import Found, find_passages, is_visible
from pipelines.services import Services
from pipelines.session_context import in_situation, read_situation, with_earlier
from pipelines.session_signals import EarlierResolution
from pipelines.tokens import count_tokens
from storage.reading import ReaderState
from storage.retrieval import SubjectState
from storage.rows import Memory
from storage.transactions import Connection

__all__ = ["Assembly", "ContextBundle", "ContextRequest", "assemble", "assemble_context"]


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
    opened = world.open_to_rank(services, tenant_id, request.subject_id, wants_receipt=wants_receipt)
    with opened as (conn, state, subject):
        assembly = _assembled(
            services, conn, state, tenant_id, request, policy=policy, now=now, world=world, subject=subject
        )
        yield assembly, conn, state


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
    subject: SubjectState | None,
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
        state=subject,
    )
    decisions = reader.decisions(judgement, found.stored if found else None)
    if found is None:
        return Assembly(bundle_of(request, header), now, state.config_text, decisions)
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
        empty = bundle_of(request, header, delivered=notes, memories=noted, earlier=earlier)
        return Assembly(empty, now, state.config_text, decisions, found)
    if not found.is_related:
        header = context_text.with_nothing_related(header, request.max_tokens)
        told = explain(found, situation, nothing_of(found, now)) if request.explain else None
        unrelated = bundle_of(request, header, delivered=notes, memories=noted, explanation=told)
        return Assembly(unrelated, now, state.config_text, decisions, found)
    found = reranked(services, conn, tenant_id, request.subject_id, found, task=request.task, now=now)
    selection = select(found, request, request.max_tokens - count_tokens(header), now)
    sources = load_sources(conn, tenant_id, request.subject_id, found, selection.chosen)
    memories: Mapping[UUID, Memory] = sources.memories
    if request.as_of is None:
        memories = {id: memory for id, memory in memories.items() if is_visible(memory, now)}
    if visibility.hides_anything:
        memories = {id: visibility.shown(memory) for id, memory in memories.items()} | noted
    ranked = delivered_of(found, selection, memories, sources, now)
    bundle = bundle_of(
        request,
        header,
        delivered=[*ranked, *notes],
        memories=memories,
        episodes=sources.episodes,
        earlier=earlier,
        explanation=explain(found, situation, selection) if request.explain else None,
    )
    scores = {item.source: float(found.scores.total[item.row]) for item in reversed(ranked)}
    return Assembly(bundle, now, state.config_text, decisions, found, scores)
