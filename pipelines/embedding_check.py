"""How well stored memories are found with one model and with another: known-item retrieval over what is stored.

From a sample of stored passages a query is made of every second word of each; the passage should come back among the
first ten. That measures how much the ranking finds again of what it holds, on the operator's own data, before and
after a change of the model. It is not the recall of real questions: for that, see docs/ranking.md. (Azzopardi, de
Rijke and Balog, "Building simulated queries for known-item topics", SIGIR 2007.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from config.clock import utcnow
from pipelines.packing import rank
from pipelines.retrieval import find_passages, microseconds, source_of
from pipelines.services import Services
from storage import passage_sources
from storage.passage_columns import Kind
from storage.passages import sample_subjects
from storage.transactions import operator_transaction, tenant_transaction

#: Subjects and passages of each that are looked at.
SUBJECTS = 40
PASSAGES_PER_SUBJECT = 5

#: A passage counts as found among so many.
FOUND_AMONG = 10

#: Passages with fewer words are left out: half of them says too little.
LEAST_WORDS = 6


def check(services: Services, seed: str, *, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Known-item recall per model, over the same sample for the same seed and data.

    Returns:
        Per model: `recall_at_10`, and how many `queries` over how many `subjects` it is the mean of. Models that
        cannot be opened here, and samples of nothing, are left out.
    """
    with operator_transaction(services.pool) as conn:
        subjects = sample_subjects(conn, seed, limit=SUBJECTS)
    hits: dict[str, list[bool]] = {model: [] for model in models}
    for tenant_id, subject_id in subjects:
        for model in models:
            if services.embedder_of(model) is not None:
                hits[model] += _hits(services, tenant_id, subject_id, model)
    return {
        model: {
            "recall_at_10": round(sum(found) / len(found), 4),
            "queries": len(found),
            "subjects": len(subjects),
        }
        for model, found in hits.items()
        if found
    }


def _hits(services: Services, tenant_id: str, subject_id: str, model: str) -> list[bool]:
    now = utcnow()
    found_again = []
    for source, start, stop, query in _known_items(services, tenant_id, subject_id):
        with tenant_transaction(services.pool, tenant_id) as conn:
            found = find_passages(conn, tenant_id, subject_id, task=query, services=services, now=now, model=model)
        if found is None:
            continue
        columns = found.columns
        order = rank(columns, found.scores, now=microseconds(now), most=FOUND_AMONG)
        found_again.append(
            any(
                (source_of(columns, row), columns.start[row], columns.stop[row]) == (source, start, stop)
                for row in map(int, order)
            )
        )
    return found_again


def _known_items(services: Services, tenant_id: str, subject_id: str) -> list[tuple[UUID, int, int, str]]:
    """(source, start, stop, query) of passages spread evenly over the subject."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        found = find_passages(conn, tenant_id, subject_id, task="anything", services=services, now=utcnow())
        if found is None or len(found.columns) == 0:
            return []
        columns = found.columns
        turns = [row for row in range(len(columns)) if columns.kind[row] == Kind.TURN] or list(range(len(columns)))
        step = max(1, len(turns) // PASSAGES_PER_SUBJECT)
        rows = turns[::step][:PASSAGES_PER_SUBJECT]
        texts = passage_sources.texts(conn, tenant_id, subject_id, [source_of(columns, row) for row in rows])
    items = []
    for row in rows:
        source, start, stop = source_of(columns, row), int(columns.start[row]), int(columns.stop[row])
        words = texts.get(source.bytes, "")[start:stop].split()
        if len(words) >= LEAST_WORDS:
            items.append((source, start, stop, " ".join(words[1::2])))
    return items
