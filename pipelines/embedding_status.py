"""How subjects are read, and how far a change of the embedding model is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from config.clock import utcnow
from storage import embedding_changes
from storage.embedding_changes import EmbeddingChange, ModelSubjects
from storage.transactions import Pool, operator_transaction


class ChangeProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A change and what is left of it. Rates are averages since it began, None until something was done.

    `problem` is the last error of a run of it that waits to be tried again, or failed for good.
    """

    change: EmbeddingChange
    passages_total: int
    passages_per_second: float | None
    seconds_left: float | None
    problem: str | None


class EmbeddingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is read with which model.

    `configured_model` is what this process is set up with; a change to it is made by `migrate`, not by a restart.
    """

    configured_model: str | None
    subjects: list[ModelSubjects]
    current: ChangeProgress | None
    history: list[EmbeddingChange]


def status(pool: Pool, *, configured_model: str | None, now: datetime | None = None) -> EmbeddingStatus:
    """How subjects are read, and how far a change is. Reads all of `subjects`."""
    with operator_transaction(pool) as conn:
        counts = embedding_changes.subjects_by_model(conn)
        history = embedding_changes.newest(conn, limit=10)
        problem = embedding_changes.problem_of(conn, history[0].id) if history else None
    live = history[0] if history and history[0].state != "closed" else None
    return EmbeddingStatus(
        configured_model=configured_model,
        subjects=counts,
        current=_progress(live, counts, problem, now or utcnow()) if live else None,
        history=history,
    )


def _progress(
    change: EmbeddingChange, counts: Sequence[ModelSubjects], problem: str | None, now: datetime
) -> ChangeProgress:
    total = sum(count.passages for count in counts)
    seconds = ((change.filled_at or change.rolled_back_at or now) - change.started_at).total_seconds()
    rate = change.passages_done / seconds if change.passages_done and seconds > 0 else None
    left = sum(count.passages for count in counts if count.model != change.target_model)
    return ChangeProgress(
        change=change,
        passages_total=total,
        passages_per_second=round(rate, 1) if rate else None,
        seconds_left=round(left / rate, 1) if rate and change.state == "filling" else None,
        problem=problem if change.state == "filling" else None,
    )
