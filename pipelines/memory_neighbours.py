"""How the memories of a subject lie to a query and to one another (contract: governance §9.4).

For operators, who see everything: no policy is asked.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.deferred import np
from pipelines.history import PRESENT, Wanted
from pipelines.retrieval import find_passages, is_visible, microseconds, source_of
from pipelines.services import Services
from pipelines.tokens import count_tokens
from storage import lineage
from storage import memories as memory_rows
from storage.lineage import MemoryView
from storage.passage_columns import Kind
from storage.rows import Memory
from storage.transactions import Connection, tenant_transaction

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Memories that are compared with one another at most, and that are drawn on a map; the newest of them.
MOST_COMPARED = 150
MOST_DRAWN = 500

_NO_EMBEDDER = "no embeddings are configured, or the subject has none yet"


class SimulatedResult(msgspec.Struct, frozen=True, kw_only=True):
    """A memory at its place in the ranking. `similarity` and `cosine_distance` are null without embeddings."""

    rank: int
    memory_id: UUID
    kind: str
    content: str
    summary: str
    confidence: float
    status: str
    created_at: datetime
    similarity: float | None
    cosine_distance: float | None
    estimated_tokens: int
    within_budget: bool


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What a query would find. `tokens_used` is of the results within the budget."""

    results: list[SimulatedResult]
    query: str
    tokens_used: int
    token_budget: int
    embedding_available: bool
    error: str | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two active memories that say nearly the same."""

    memory_a: MemoryView
    memory_b: MemoryView
    similarity: float


class NearPairs(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of memories, the most similar first."""

    pairs: list[Pair]
    total_memories_checked: int
    embedding_available: bool
    error: str | None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A memory's place on the map."""

    memory_id: UUID
    kind: str
    content_preview: str
    x: float
    y: float


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """Memories in two dimensions, by the two directions in which their meanings differ most."""

    points: list[Point]
    total: int
    embedding_available: bool
    error: str | None


def simulate(
    services: Services, tenant_id: str, subject_id: str, *, query: str, limit: int, token_budget: int
) -> Simulation:
    """The memories that a query finds, as context ranks them, and which of them a budget has room for."""
    now = utcnow()
    with tenant_transaction(services.pool, tenant_id) as conn:
        found = find_passages(conn, tenant_id, subject_id, task=query, services=services, now=now)
        if found is None:
            return Simulation(
                results=[], query=query, tokens_used=0, token_budget=token_budget, embedding_available=False
            )
        rows = np.flatnonzero((found.columns.kind != Kind.TURN) & (found.columns.valid_until > microseconds(now)))
        order = rows[np.argsort(-found.scores.total[rows], kind="stable")][:limit]
        near = _cosines(services, found.columns.scale, found.columns.vectors, found.query.text, found.model)
        ids = [source_of(found.columns, int(row)) for row in order]
        stored = memory_rows.memories_by_ids(conn, tenant_id, subject_id, ids)
    results: list[SimulatedResult] = []
    used = 0
    for id, row in zip(ids, order.tolist(), strict=True):
        memory = stored.get(id)
        if memory is None or not is_visible(memory, now):
            continue
        tokens = count_tokens(memory.content)
        fits = used + tokens <= token_budget
        used += tokens if fits else 0
        cosine = round(float(near[row]), 4) if near is not None else None
        results.append(_simulated(memory, len(results) + 1, cosine, tokens, fits))
    return Simulation(
        results=results,
        query=query,
        tokens_used=used,
        token_budget=token_budget,
        embedding_available=near is not None,
    )


def near_pairs(services: Services, tenant_id: str, subject_id: str, *, threshold: float, limit: int) -> NearPairs:
    """Active memories whose vectors are nearly the same: repetitions, or contradictions that nobody noticed."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        ids, vectors = _vectors(services, conn, tenant_id, subject_id, most=MOST_COMPARED)
        if len(vectors) == 0:
            return NearPairs(pairs=[], total_memories_checked=len(ids), embedding_available=False, error=_NO_EMBEDDER)
        first, second = np.triu_indices(len(ids), k=1)
        similarity = (vectors @ vectors.T)[first, second]
        near = np.flatnonzero(similarity >= threshold)
        near = near[np.argsort(-similarity[near], kind="stable")][:limit]
        wanted = {ids[index] for pair in near.tolist() for index in (int(first[pair]), int(second[pair]))}
        views = {id: lineage.find_memory(conn, tenant_id, subject_id, id) for id in sorted(wanted)}
    pairs = []
    for index in near.tolist():
        one, other = views[ids[int(first[index])]], views[ids[int(second[index])]]
        if one is not None and other is not None:
            pairs.append(Pair(memory_a=one, memory_b=other, similarity=round(float(similarity[index]), 4)))
    return NearPairs(pairs=pairs, total_memories_checked=len(ids), embedding_available=True, error=None)


def clusters(services: Services, tenant_id: str, subject_id: str) -> Map:
    """The newest active memories in the plane of their two principal components."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        ids, vectors = _vectors(services, conn, tenant_id, subject_id, most=MOST_DRAWN)
        if len(vectors) == 0:
            return Map(points=[], total=0, embedding_available=False, error=_NO_EMBEDDER)
        stored = memory_rows.memories_by_ids(conn, tenant_id, subject_id, ids)
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(ids), 2))
    places[:, : len(directions[:2])] = centred @ directions[:2].T
    points = [
        Point(memory_id=id, kind=memory.kind, content_preview=memory.content[:120], x=round(x, 4), y=round(y, 4))
        for id, (x, y) in zip(ids, places.tolist(), strict=True)
        if (memory := stored.get(id)) is not None
    ]
    return Map(points=points, total=len(points), embedding_available=True, error=None)


def _simulated(memory: Memory, rank: int, cosine: float | None, tokens: int, fits: bool) -> SimulatedResult:
    return SimulatedResult(
        **{name: getattr(memory, name) for name in ("kind", "content", "summary", "confidence", "status")},
        memory_id=memory.id,
        created_at=memory.created_at,
        rank=rank,
        similarity=cosine,
        cosine_distance=None if cosine is None else round(1 - cosine, 4),
        estimated_tokens=tokens,
        within_budget=fits,
    )


def _vectors(
    services: Services, conn: Connection, tenant_id: str, subject_id: str, *, most: int
) -> tuple[list[UUID], NDArray[np.float32]]:
    """The newest active memories with a vector of length one each; no vectors where there are no embeddings."""
    loaded = PRESENT.load(conn, Wanted(services, tenant_id, subject_id, waiting_limit=0, cache=services.passages))
    none = np.zeros((0, 0), dtype=np.float32)
    if loaded is None:
        return [], none
    columns = loaded.columns
    active = (columns.kind != Kind.TURN) & (columns.valid_until > microseconds(utcnow()))
    rows = np.flatnonzero(active & (columns.scale > 0))[-most:]
    ids = [source_of(columns, int(row)) for row in rows]
    if not ids:
        return [], none
    vectors = columns.vectors[rows].astype(np.float32) * columns.scale[rows, None]
    return ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _cosines(
    services: Services, scale: NDArray[np.float32], vectors: NDArray[np.int8], text: str, model: str | None
) -> NDArray[np.float32] | None:
    embedder = services.embedder_of(model)
    if embedder is None or model is None:
        return None
    vector = services.query_vectors.of(
        embedder.model, text, lambda: embedder.embed_query(text), is_shared=embedder.is_remote
    )
    if vector is None:
        return None
    cosines: NDArray[np.float32] = (vectors.astype(np.float32) @ vector) * scale
    return cosines
