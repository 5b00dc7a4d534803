"""Finding a subject's passages for a task: load all of them, mask what may not be seen, score.

Context and semantic search both go through here, so there is one ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from config.clock import utcnow
from pipelines.drafting import passages_of_episodes
from pipelines.embedding import vectors_of
from pipelines.history import PRESENT, World
from pipelines.packing import rank
from pipelines.passages import columns_of, speakers_of
from pipelines.policy.visibility import EVERYTHING, Visibility
from pipelines.providers.account import Account, charged_to
from pipelines.query import Query, parse_task
from pipelines.ranking import (
    DEFAULT_PARAMETERS,
    ENCODER_PARAMETERS,
    RankingParameters,
    Scores,
    match_terms,
    score,
)
from pipelines.relatedness import DEFAULT_RELATEDNESS, ENCODER_RELATEDNESS, RelatednessParameters, relatedness
from pipelines.services import Embedder, Services
from pipelines.speakers import speaker_hash
from storage import memories
from storage.history import Watermark
from storage.passage_cache import PassageCache
from storage.passage_columns import NEVER, Kind, PassageColumns, concatenate, take
from storage.retrieval import Candidates
from storage.rows import Memory
from storage.transactions import Connection

#: Newest episodes that are found although they are not compiled yet; they are split and embedded on the fly.
WAITING_EPISODES = 100

#: Rows that a search looks at for every memory it returns: some of the best may have ended or be of another kind.
LOOKED_AT_PER_RESULT = 4

_KINDS = {
    "profile_fact": Kind.PROFILE_FACT,
    "procedure": Kind.PROCEDURE,
    "episode_summary": Kind.EPISODE_SUMMARY,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A subject's passages with their scores for a task. Rows of all parts belong together."""

    columns: PassageColumns
    speakers: list[str]
    query: Query
    scores: Scores
    #: False when nothing stored has to do with the task.
    is_related: bool
    #: Whether it is recorded how any of the subject's sessions ended.
    has_resolutions: bool
    #: Everything that is stored, what the policy hides included: for the record, never for an answer.
    stored: PassageColumns
    #: How much of the subject was seen.
    watermark: Watermark
    #: False when the task could not be embedded and words alone decided.
    is_semantic: bool
    #: What a reranking model said of the rows that it was shown.
    rerank: Mapping[int, float] = field(default_factory=dict)
    #: What the vectors were made by; None without an embedder.
    model: str | None = None


def find_passages(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    task: str,
    services: Services,
    now: datetime,
    visibility: Visibility = EVERYTHING,
    world: World = PRESENT,
    model: str | None = None,
    cache: PassageCache | None = None,
) -> Found | None:
    """Score everything retrievable of the subject; None when nothing is stored of it.

    Args:
        visibility: What the caller may see. The rest is left out before anything is scored, so that not even the
            statistics of the ranking depend on it.
        model: Whose vectors to use, for comparisons; None for the model that the subject is read with.
        cache: Where large subjects are kept between requests.
        world: The subject as it is, or as it stood.
    """
    candidates = world.load(
        conn, tenant_id, subject_id, services=services, model=model, waiting_limit=WAITING_EPISODES, cache=cache
    )
    if candidates is None:
        return None
    embedder = services.embedder_of(candidates.model)
    stored, speakers = _with_waiting(candidates, embedder)
    columns = visibility.visible_passages(stored)
    if len(columns) < len(stored):
        speakers = _speaking(columns, speakers)
    query = parse_task(task, speakers=speakers, now=now)
    with charged_to(Account(conn, services.settings, tenant_id, subject_id)):
        vector = _embedded(services, query, embedder)
    matches = match_terms(columns, query.terms)
    parameters, thresholds = _parameters(embedder)
    scores = score(columns, query, vector, parameters, matches=matches)
    if len(vector) == 0:
        # Words alone cannot tell that another wording of the task is nowhere; only that none of its words is.
        is_related = bool(len(query.terms) == 0 or scores.lexical.any())
    else:
        is_related = relatedness(columns, query, vector, scores, matches, thresholds).is_related
    return Found(
        columns,
        speakers,
        query,
        scores,
        is_related,
        candidates.has_resolutions,
        stored,
        candidates.watermark,
        is_semantic=len(vector) > 0,
        model=candidates.model if embedder else None,
    )


def rank_memories(
    services: Services,
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    query: str,
    kind: str | None,
    limit: int,
    visibility: Visibility = EVERYTHING,
) -> tuple[list[Memory], bool]:
    """The subject's visible memories, best first for the query, and whether its meaning was part of the ranking."""
    now = utcnow()
    found = find_passages(
        conn,
        tenant_id,
        subject_id,
        task=query,
        services=services,
        now=now,
        visibility=visibility,
        cache=services.passages,
    )
    if found is None:
        return [], services.embedder is not None
    wanted = found.columns.kind != Kind.TURN
    if kind is not None:
        wanted &= found.columns.kind == _KINDS.get(kind, Kind.OTHER)
    rows = np.flatnonzero(wanted)
    order = rank(
        take(found.columns, rows),
        scores_of(found.scores, rows),
        now=microseconds(now),
        most=limit * LOOKED_AT_PER_RESULT,
    )
    ids = [source_of(found.columns, int(rows[row])) for row in order]
    stored = memories.memories_by_ids(conn, tenant_id, subject_id, ids)
    ranked = [stored[id] for id in ids if id in stored]
    visible = [memory for memory in ranked if is_visible(memory, now) and kind in (None, memory.kind)]
    return visible[:limit], found.is_semantic


def scores_of(scores: Scores, rows: NDArray[np.intp]) -> Scores:
    """The scores of some rows."""
    return Scores(**{field.name: getattr(scores, field.name)[rows] for field in fields(Scores)})


def signals_of(scores: Scores, row: int) -> dict[str, float]:
    """What a row's score is the sum of, without the signals that are zero."""
    values = {field.name: float(getattr(scores, field.name)[row]) for field in fields(Scores) if field.name != "total"}
    return {name: round(value, 4) for name, value in values.items() if abs(value) >= 0.00005}


def is_visible(memory: Memory, now: datetime) -> bool:
    """Whether readers see the memory at this moment."""
    return memory.status == "active" and (memory.valid_to is None or memory.valid_to > now)


def source_of(columns: PassageColumns, row: int) -> UUID:
    """The episode or memory a passage was taken from."""
    return UUID(bytes=columns.source_id[row].tobytes())


def sources_of(columns: PassageColumns, rows: NDArray[np.intp]) -> list[UUID]:
    """`source_of` each row."""
    return [UUID(bytes=source) for source in columns.source_id[rows].tolist()]


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, UTC, as columns hold times."""
    return min(int(moment.timestamp() * 1_000_000), int(NEVER))


def _with_waiting(candidates: Candidates, embedder: Embedder | None) -> tuple[PassageColumns, list[str]]:
    """Stored passages, and those of the episodes that are not compiled yet behind them."""
    if not candidates.waiting:
        return candidates.columns, candidates.speakers
    passages = passages_of_episodes(candidates.waiting, candidates.speakers)
    speakers = list(dict.fromkeys([*candidates.speakers, *speakers_of(passages)]))
    if embedder is not None and not embedder.is_instant:
        # Found by their words alone until they are compiled: a reader does not wait for a model.
        vectors = np.zeros((len(passages), embedder.dimensions), dtype=np.float32)
    else:
        vectors = vectors_of(passages, embedder, speakers=candidates.speakers)
    return concatenate([candidates.columns, columns_of(passages, vectors)]), speakers


def _speaking(columns: PassageColumns, speakers: list[str]) -> list[str]:
    """Those who speak in these passages: who speaks only in hidden ones is not known to this caller."""
    heard = set(columns.speaker.tolist())
    return [name for name in speakers if speaker_hash(name) in heard]


def _embedded(services: Services, query: Query, embedder: Embedder | None) -> NDArray[np.float32]:
    """The query's vector; of no length when there is none, or it is not to be had now."""
    vector = None
    if embedder is not None:
        texts = [query.text]
        if _is_encoder(embedder) and query.task != query.text:
            texts.append(query.task)
        make = partial(_direction, embedder, texts)
        vector = services.query_vectors.of(embedder.model, "\n".join(texts), make, is_shared=not embedder.is_instant)
    return np.zeros(0, dtype=np.float32) if vector is None else vector


def _direction(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vector between those of the texts."""
    if len(texts) == 1:
        return embedder.embed_query(texts[0])
    total = embedder.embed(texts).sum(axis=0)
    vector: NDArray[np.float32] = total / max(float(np.linalg.norm(total)), 1e-9)
    return vector


def _parameters(embedder: Embedder | None) -> tuple[RankingParameters, RelatednessParameters]:
    if embedder is not None and _is_encoder(embedder):
        return ENCODER_PARAMETERS, ENCODER_RELATEDNESS
    return DEFAULT_PARAMETERS, DEFAULT_RELATEDNESS


def _is_encoder(embedder: Embedder) -> bool:
    """Whether vectors come from an encoder of this machine, for which this was measured (docs/ranking.md)."""
    return not embedder.is_instant and not embedder.is_remote
