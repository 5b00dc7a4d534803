"""What `explain` adds to a context: every candidate that was looked at, and why it was delivered or not."""

from __future__ import annotations

from typing import Any

import msgspec

from pipelines.packing import Selection
from pipelines.retrieval import Found, signals_of, source_of
from pipelines.session_context import Situation
from storage.passage_columns import Kind


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The candidates, best first, and how they were found."""

    candidates: list[dict[str, Any]] = []
    #: `semantic`, or `text_fallback` when the task could not be embedded and words alone decided; unset where nothing
    #: was looked for.
    search_mode: str | msgspec.UnsetType = msgspec.UNSET


def explain(found: Found, situation: Situation | None, selection: Selection) -> Explanation:
    """Say of every candidate what its signals were, and why it was delivered or left out."""
    columns, scores = found.columns, found.scores
    rows = sorted({*selection.chosen, *selection.left_out}, key=lambda row: (-scores.total[row], row))
    chosen = set(selection.chosen)
    candidates = [
        {
            "source_id": str(source_of(columns, row)),
            "kind": Kind(int(columns.kind[row])).name.lower(),
            "start": int(columns.start[row]),
            "stop": int(columns.stop[row]),
            "score": round(float(scores.total[row]), 4),
            "signals": signals_of(scores, row)
            | (situation.signals.of(row) if situation else {})
            | ({"rerank": found.rerank[row]} if row in found.rerank else {}),
            "tokens": int(columns.tokens[row]),
            "delivered": row in chosen,
            "left_out": selection.left_out.get(row),
        }
        for row in rows
    ]
    return Explanation(candidates=candidates, search_mode="semantic" if found.is_semantic else "text_fallback")
