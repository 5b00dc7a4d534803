"""Scoring every passage of a subject for a task, in numpy, exactly. Pure: same columns, same task, same scores.

    base  = lexical · BM25F + semantic · cosine      of the passage with its neighbours in the session
    total = base + session · max(base in the session) + speaker + date + time + question

docs/ranking.md tells what each part is for, and holds the measurement that chose every parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.neighbourhood import Neighbourhood, Window, neighbourhood
from pipelines.query import Query
from storage.passage_columns import Flag, Kind, PassageColumns

FloatColumn = NDArray[np.float32]

#: Rows of vectors that are converted and multiplied at once: 1 MB of float32, so that they stay in the cache.
_ROWS_AT_ONCE = 1024
#: Rows from which the mean vector is taken; of more, every k-th.
_ROWS_FOR_MEAN = 4096
#: (term, passage) pairs up to which frequencies are counted in a full table, of 16 MB at most, instead of sorted.
_DENSE_PAIRS = 1 << 21

_MICROSECONDS_PER_YEAR = 31_556_952_000_000


@dataclass(frozen=True, slots=True)
class RankingParameters:
    """Every number of the ranking; docs/ranking.md holds the measurement that chose it."""

    #: Weights of the terms of neighbours, by their distance.
    lexical_window: Window = (
        *((0, 1.0), (-1, 0.5), (-2, 0.3), (-3, 0.2), (-4, 0.1)),
        *((1, 0.3), (2, 0.2), (3, 0.2), (4, 0.1)),
    )
    #: Weights of the cosines of neighbours, by their distance.
    semantic_window: Window = ((0, 1.0), (-1, 0.4), (-2, 0.2), (-3, 0.1), (1, 0.3), (2, 0.2), (3, 0.1))
    #: BM25: how soon repetition stops counting, and how much length counts against a passage.
    k1: float = 1.2
    b: float = 0.75
    lexical: float = 0.06
    semantic: float = 0.5
    #: How much of the subject's mean vector is taken off the query, so that passages which are about what everything
    #: is about lose their advantage. Reached as the subject grows: `n / (n + commonness_from)` of it.
    commonness: float = 1.0
    commonness_from: float = 100.0
    #: Memories have no neighbours to add to their score; this makes up for it.
    memory: float = 1.5
    #: Share of its session's best base score that a passage gets.
    session: float = 0.2
    #: Said by the speaker whom the task names alone, or first of several (times `speaker_first`).
    speaker: float = 0.2
    speaker_first: float = 0.6
    #: Happened when the task says.
    date: float = 0.3
    #: Has an expression of time, when the task asks when.
    time: float = 0.15
    #: Is a question, and so rarely an answer.
    question: float = -0.1
    #: Query terms that are looked at; of a longer task the rarest.
    most_terms: int = 48


DEFAULT_PARAMETERS = RankingParameters()

#: With vectors of a sentence encoder, which need less of their neighbours.
ENCODER_PARAMETERS = replace(
    DEFAULT_PARAMETERS,
    semantic=0.6,
    semantic_window=((0, 1.0), (-1, 0.2), (-2, 0.1), (-3, 0.05), (1, 0.15), (2, 0.1), (3, 0.05)),
)


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


@dataclass(frozen=True, slots=True)
class Matches:
    """Every occurrence of a query term, in the order of the passages: the term's number and the passage's row."""

    term: NDArray[np.intp]
    passage: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.term)


def score(
    columns: PassageColumns,
    query: Query,
    query_vector: FloatColumn,
    parameters: RankingParameters = DEFAULT_PARAMETERS,
    *,
    matches: Matches | None = None,
) -> Scores:
    """Score all passages of a subject.

    Args:
        columns: The subject's passages in arrival order.
        query: The parsed task.
        query_vector: Unit vector of `query.text`, made by the model of the columns; of no length if there is none.
        matches: `match_terms(columns, query.terms)` of whoever needs it as well.
    """
    p = parameters
    if matches is None:
        matches = match_terms(columns, query.terms)
    around = neighbourhood(columns.session)
    lexical = np.float32(p.lexical) * lexical_scores(columns, matches, around, p)
    semantic = np.float32(p.semantic) * around.weighted_sum(cosines(columns, query_vector, p), p.semantic_window)
    memories = columns.kind != Kind.TURN
    if memories.any():
        lexical[memories] *= np.float32(p.memory)
        semantic[memories] *= np.float32(p.memory)
    base = lexical + semantic
    session = np.float32(p.session) * around.session_max(base)
    speaker = speaker_scores(columns.speaker, query, p)
    date = np.float32(p.date) * date_matches(columns.occurred_at, query)
    time = _where(columns.flags, Flag.HAS_TIME_EXPRESSION, p.time if query.asks_when else 0.0)
    question = _where(columns.flags, Flag.IS_QUESTION, p.question)
    total = base + session + speaker + date + time + question
    return Scores(total, lexical, semantic, session, speaker, date, time, question)


def _where(flags: NDArray[np.uint8], flag: Flag, value: float) -> FloatColumn:
    if value == 0.0:
        return np.zeros(len(flags), dtype=np.float32)
    out: FloatColumn = ((flags & flag) != 0).astype(np.float32) * np.float32(value)
    return out


def cosines(columns: PassageColumns, query_vector: FloatColumn, p: RankingParameters) -> FloatColumn:
    """Cosine of every passage with the query, less its nearness to the subject's mean, (n,)."""
    n = len(columns)
    out = np.zeros(n, dtype=np.float32)
    if n == 0 or query_vector.shape[0] == 0 or columns.vectors.shape[1] != query_vector.shape[0]:
        return out
    step = -(-n // _ROWS_FOR_MEAN)
    weights = (columns.scale * _turns(columns))[::step]
    rows = columns.vectors[::step].astype(np.float32)
    of = max(int(np.count_nonzero(weights)), 1)
    target = query_vector - np.float32(p.commonness / (of + p.commonness_from)) * (weights @ rows)
    if n <= _ROWS_AT_ONCE:
        return (rows @ target) * columns.scale
    for start in range(0, n, _ROWS_AT_ONCE):
        chunk = columns.vectors[start : start + _ROWS_AT_ONCE].astype(np.float32)
        np.dot(chunk, target, out=out[start : start + _ROWS_AT_ONCE])
    out *= columns.scale
    return out


def lexical_scores(
    columns: PassageColumns, matches: Matches, around: Neighbourhood, p: RankingParameters
) -> FloatColumn:
    """BM25F of every passage, its neighbours being fields of lower weight (Robertson, Zaragoza and Taylor, 2004)."""
    n = len(columns)
    matches = rarest(matches, p.most_terms)
    if len(matches) == 0:
        return np.zeros(n, dtype=np.float32)
    turns = _turns(columns)
    occurrence, reached, weight = around.spread(matches.passage, p.lexical_window)
    pairs = matches.term[occurrence] * n + reached
    pair, frequency = _sum_by_pair(pairs, weight, n * (int(matches.term.max()) + 1))
    term, passage = np.divmod(pair, n)
    document_frequency = np.bincount(term, weights=turns[passage])
    idf = np.log1p((turns.sum() - document_frequency + 0.5) / (document_frequency + 0.5))
    length = around.weighted_sum(columns.term_counts.astype(np.float32), p.lexical_window)
    norm = (p.k1 * (1 - p.b)) + length * (p.k1 * p.b / max(float(length[turns].mean()), 1e-9))
    gain = idf[term] * frequency * (p.k1 + 1) / (frequency + norm[passage])
    return np.bincount(passage, weights=gain, minlength=n).astype(np.float32)


def _turns(columns: PassageColumns) -> NDArray[np.bool_]:
    """The rows that statistics are taken from: turns, for memories repeat them; all rows where there are no turns."""
    turns = columns.kind == Kind.TURN
    return turns if turns.any() else np.ones(len(columns), dtype=np.bool_)


def match_terms(columns: PassageColumns, query_terms: NDArray[np.uint32]) -> Matches:
    """Where the query's terms occur; a term is known by its place among the sorted ones."""
    if len(query_terms) == 0:
        return Matches(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp))
    # PERF: a sieve over the lower 16 bits leaves few of the subject's terms to look up.
    sieve = np.zeros(1 << 16, dtype=np.bool_)
    sieve[query_terms.astype(np.uint16)] = True
    places = np.flatnonzero(sieve[columns.terms.astype(np.uint16)])
    wanted = np.sort(query_terms)
    found = columns.terms[places]
    term = np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)
    exact = wanted[term] == found
    ends = np.cumsum(columns.term_counts, dtype=np.int64)
    return Matches(term[exact], np.searchsorted(ends, places[exact], side="right"))


def rarest(matches: Matches, most: int) -> Matches:
    """The matches of the `most` terms that occur least often."""
    frequency = np.bincount(matches.term)
    if np.count_nonzero(frequency) <= most:
        return matches
    frequency[frequency == 0] = len(matches) + 1
    rare = np.zeros(len(frequency), dtype=np.bool_)
    rare[np.argsort(frequency, kind="stable")[:most]] = True
    kept = rare[matches.term]
    return Matches(matches.term[kept], matches.passage[kept])


def _sum_by_pair(
    pairs: NDArray[np.intp], weights: NDArray[np.float64], most: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Distinct pairs and the sums of their weights."""
    if most <= _DENSE_PAIRS:
        table = np.bincount(pairs, weights=weights).astype(np.float64, copy=False)
        used = np.flatnonzero(table)
        return used, table[used]
    distinct, inverse = np.unique(pairs, return_inverse=True)
    return distinct, np.bincount(inverse, weights=weights).astype(np.float64, copy=False)


def speaker_scores(speaker: NDArray[np.uint32], query: Query, p: RankingParameters) -> FloatColumn:
    """Who said it: the one whom the task names, or names first."""
    if not query.speakers:
        return np.zeros(len(speaker), dtype=np.float32)
    worth = p.speaker if len(query.speakers) == 1 else p.speaker * p.speaker_first
    out: FloatColumn = (speaker == np.uint32(query.speakers[0])).astype(np.float32) * np.float32(worth)
    return out


def date_matches(occurred_at: NDArray[np.int64], query: Query) -> FloatColumn:
    """How well each passage's time fits the dates the task names, 0 to 1."""
    out = np.zeros(len(occurred_at), dtype=np.float32)
    if not query.dates or len(occurred_at) == 0:
        return out
    first, last = (int(1970 + t // _MICROSECONDS_PER_YEAR) for t in (occurred_at.min(), occurred_at.max()))
    for date in query.dates:
        for start, stop, weight in date.windows(range(first, last + 2)):
            inside = (occurred_at >= start) & (occurred_at < stop)
            out[inside] = np.maximum(out[inside], np.float32(weight))
    return out
