"""Scoring every passage of a subject for a task, in numpy, exactly. Pure: same columns, same task, same scores.

    base  = lexical + semantic                     own words and vector, with those of the neighbours in the session
    total = base + session · max(base in session) + speaker + date + time - question

The idea and first numbers of each part are in docs/ranking.md, with the measurement that chose every parameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.neighbourhood import Neighbourhood, neighbourhood
from pipelines.query import Query
from storage.passage_columns import Flag, PassageColumns

FloatColumn = NDArray[np.float32]

#: Rows of vectors that are converted and multiplied at once: 1 MB of float32, so that they stay in the cache.
_ROWS_AT_ONCE = 1024

_MICROSECONDS_PER_YEAR = 31_556_952_000_000


@dataclass(frozen=True, slots=True)
class RankingParameters:
    """Every number of the ranking. docs/ranking.md holds the measurement that chose it."""

    #: Weights of the terms of neighbours, by distance in the session: 0 is the passage itself.
    lexical_window: tuple[tuple[int, float], ...] = ((0, 1.0), (-1, 0.5), (-2, 0.3), (1, 0.3), (-3, 0.2), (2, 0.2), (3, 0.2))
    #: Weights of the cosines of neighbours, by distance.
    semantic_window: tuple[tuple[int, float], ...] = ((0, 1.0), (-1, 0.3), (1, 0.3), (-2, 0.15), (2, 0.15))
    #: BM25's saturation and length normalisation.
    k1: float = 1.2
    b: float = 0.75
    lexical: float = 0.05
    semantic: float = 0.5
    session: float = 0.2
    speaker: float = 0.3
    date: float = 0.3
    time: float = 0.1
    question: float = -0.1
    #: Query terms that are looked at; of a longer task the rarest.
    most_terms: int = 64


DEFAULT_PARAMETERS = RankingParameters()


@dataclass(frozen=True, slots=True)
class Scores:
    """What each passage is worth for a task: the total and the signals it is the sum of, each (n,) float32."""

    total: FloatColumn
    lexical: FloatColumn
    semantic: FloatColumn
    session: FloatColumn
    speaker: FloatColumn
    date: FloatColumn
    time: FloatColumn
    question: FloatColumn


def score(
    columns: PassageColumns,
    query: Query,
    query_vector: FloatColumn,
    parameters: RankingParameters = DEFAULT_PARAMETERS,
) -> Scores:
    """Score all passages of a subject.

    Args:
        columns: The subject's passages in arrival order.
        query: The parsed task.
        query_vector: Unit vector of `query.text`, made by the model of the columns; zeros if there is none.
    """
    p = parameters
    around = neighbourhood(columns.session)
    lexical = p.lexical * lexical_scores(columns, query.terms, around, p)
    semantic = p.semantic * around.weighted_sum(cosines(columns, query_vector), p.semantic_window)
    base = lexical + semantic
    session = p.session * around.session_max(base)
    speaker = np.zeros(len(columns), dtype=np.float32)
    if len(query.speakers) == 1:
        speaker[columns.speaker == np.uint32(query.speakers[0])] = p.speaker
    question = p.question * (columns.flags & Flag.IS_QUESTION != 0).astype(np.float32)
    time = np.zeros(len(columns), dtype=np.float32)
    if query.asks_when:
        time[columns.flags & Flag.HAS_TIME_EXPRESSION != 0] = p.time
    date = p.date * date_matches(columns.occurred_at, query)
    total = base + session + speaker + date + question + time
    return Scores(total, lexical, semantic, session, speaker, date, time, question)


def cosines(columns: PassageColumns, query_vector: FloatColumn) -> FloatColumn:
    """Cosine of every passage with the query, (n,)."""
    out = np.empty(len(columns), dtype=np.float32)
    for start in range(0, len(columns), _ROWS_AT_ONCE):
        rows = columns.vectors[start : start + _ROWS_AT_ONCE].astype(np.float32)
        np.dot(rows, query_vector, out=out[start : start + _ROWS_AT_ONCE])
    out *= columns.scale
    return out


def lexical_scores(
    columns: PassageColumns, query_terms: NDArray[np.uint32], around: Neighbourhood, p: RankingParameters
) -> FloatColumn:
    """BM25F of every passage, its neighbours being fields of lower weight."""
    n = len(columns)
    out = np.zeros(n, dtype=np.float32)
    if n == 0 or len(query_terms) == 0:
        return out
    term, passage = _hits(columns, query_terms)
    if len(term) == 0:
        return out
    keys, frequency = _spread(term, passage, n, around, p.lexical_window)
    term, passage = np.divmod(keys, n)
    document_frequency = np.bincount(term, minlength=len(query_terms))
    idf = np.log1p((n - document_frequency + 0.5) / (document_frequency + 0.5))
    length = around.weighted_sum(columns.term_counts.astype(np.float32), p.lexical_window)
    norm = p.k1 * (1 - p.b + p.b * length / max(float(length.mean()), 1e-9))
    gain = idf[term] * frequency * (p.k1 + 1) / (frequency + norm[passage])
    return np.bincount(passage, weights=gain, minlength=n).astype(np.float32)


def _hits(columns: PassageColumns, query_terms: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(query term, passage) of every occurrence. A 64k-bit sieve leaves few of the terms to look up."""
    sieve = np.zeros(1 << 16, dtype=np.bool_)
    sieve[query_terms & 0xFFFF] = True
    places = np.flatnonzero(sieve[columns.terms.astype(np.uint16)])
    sorted_terms = np.sort(query_terms)
    candidates = columns.terms[places]
    term = np.searchsorted(sorted_terms, candidates)
    term[term == len(sorted_terms)] = 0
    exact = sorted_terms[term] == candidates
    ends = np.cumsum(columns.term_counts, dtype=np.int64)
    return term[exact], np.searchsorted(ends, places[exact], side="right")


def _spread(
    term: NDArray[np.intp],
    passage: NDArray[np.intp],
    n: int,
    around: Neighbourhood,
    window: tuple[tuple[int, float], ...],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Weighted frequency of each (term, passage) that an occurrence reaches, as key term · n + passage."""
    reached, keys, weights = [], [], []
    for distance, weight in window:
        # A term `distance` after a passage reaches it, seen from the term, `distance` before itself.
        target = around.shifted(passage, -distance)
        there = target >= 0
        keys.append((term * n + target)[there])
        weights.append(np.full(len(keys[-1]), weight))
    reached, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    return reached, np.bincount(inverse, weights=np.concatenate(weights))


def date_matches(occurred_at: NDArray[np.int64], query: Query) -> FloatColumn:
    """How well each passage's time fits the dates the task names, 0 to 1."""
    out = np.zeros(len(occurred_at), dtype=np.float32)
    if not query.dates or len(occurred_at) == 0:
        return out
    first, last = (int(1970 + t // _MICROSECONDS_PER_YEAR) for t in (occurred_at.min(), occurred_at.max()))
    for date in query.dates:
        for start, stop, weight in date.windows(range(first, last + 2)):
            inside = (occurred_at >= start) & (occurred_at < stop)
            out[inside] = np.maximum(out[inside], weight)
    return out
