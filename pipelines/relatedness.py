"""Whether anything stored has to do with a task at all, so that a context can say so instead of padding."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from pipelines.query import Query
from pipelines.ranking import FloatColumn, Matches, Scores
from pipelines.terms import term_list
from storage.passage_columns import PassageColumns


@dataclass(frozen=True, slots=True)
class RelatednessParameters:
    """Every number of the decision; docs/ranking.md holds the measurement that chose it."""

    #: Worth of the best share of the task's terms (by rarity) that one passage holds.
    coverage: float = 0.3
    #: Worth of a task that names somebody who speaks.
    speaker: float = 0.2
    #: What the sum must reach: `least + growth · ln(passages)`, at most `most`. The best of many is high by chance.
    least: float = 0.12
    growth: float = 0.03
    most: float = 0.45
    #: A task with fewer terms of its own than this ("help the user") says too little to judge by.
    specific_terms: int = 2
    #: Best rows whose cosines are looked at.
    rows: int = 64


DEFAULT_RELATEDNESS = RelatednessParameters()

#: With vectors of a sentence encoder: of unrelated texts, the nearest are nearer.
ENCODER_RELATEDNESS = RelatednessParameters(least=0.18, most=0.51)

#: What every task of an agent may say; it relates to nothing in particular.
_GENERAL = np.array(
    term_list(
        "user customer client person people help assist support prepare reply respond answer write next message call"
        " talk conversation chat question request task context summary summarise summarize tell know about recent"
        " latest hello hi please last time session history remember everything anything information background"
    ),
    dtype=np.uint32,
)


@dataclass(frozen=True, slots=True)
class Relatedness:
    """How near the nearest stored thing is to a task. `value` and `threshold` are for explanations."""

    value: float
    threshold: float
    is_related: bool


def relatedness(
    columns: PassageColumns,
    query: Query,
    query_vector: FloatColumn,
    scores: Scores,
    matches: Matches,
    parameters: RelatednessParameters = DEFAULT_RELATEDNESS,
) -> Relatedness:
    """Judge whether anything in the columns relates to the task.

    It errs towards yes: a context with little in it harms less than a memory that is denied.
    """
    p = parameters
    n = len(columns)
    if n == 0:
        return Relatedness(0.0, p.least, False)
    threshold = min(p.least + p.growth * log(n), p.most)
    value = (
        _nearest(columns, query_vector, scores, p.rows)
        + p.coverage * _coverage(matches, terms=len(query.terms), passages=n)
        + p.speaker * bool(query.speakers)
    )
    is_general = bool(np.count_nonzero(~np.isin(query.terms, _GENERAL)) < p.specific_terms)
    return Relatedness(value, threshold, is_general or value >= threshold)


def _nearest(columns: PassageColumns, query_vector: FloatColumn, scores: Scores, most: int) -> float:
    """Largest cosine among the best rows."""
    if columns.vectors.shape[1] != query_vector.shape[0] or query_vector.shape[0] == 0:
        return 0.0
    n = len(columns)
    rows = np.argpartition(scores.total, n - most)[n - most :] if n > most else np.arange(n)
    found = (columns.vectors[rows].astype(np.float32) @ query_vector) * columns.scale[rows]
    return max(0.0, float(found.max()))


def _coverage(matches: Matches, *, terms: int, passages: int) -> float:
    """Largest share of the task's terms, weighed by rarity, that one passage has."""
    if len(matches) == 0:
        return 0.0
    # Passages ascend, so with the terms in order repetitions stand next to each other.
    by_term = np.argsort(matches.term, kind="stable")
    term, passage = matches.term[by_term], matches.passage[by_term]
    first = np.ones(len(term), dtype=np.bool_)
    first[1:] = (term[1:] != term[:-1]) | (passage[1:] != passage[:-1])
    term, passage = term[first], passage[first]
    document_frequency = np.bincount(term, minlength=terms)
    idf = np.log1p((passages - document_frequency + 0.5) / (document_frequency + 0.5))
    return float(np.bincount(passage, weights=idf[term]).max() / idf.sum())
