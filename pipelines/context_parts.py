"""What a context's answer holds beside its text: episodes, their sessions, and why each candidate is in it or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.packing import Selection
from pipelines.retrieval import Found, signals_of, source_of
from pipelines.session_context import Situation
from storage.episodes import EpisodeWithBody
from storage.passage_columns import Kind
from storage.rows import Episode


def plain_episode(episode: EpisodeWithBody) -> Episode:
    """An episode as it is answered, without the text that passages point into."""
    return Episode(**{name: getattr(episode, name) for name in Episode.__struct_fields__})


def sessions_of(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """The sessions of the delivered episodes, oldest first, with how many of their episodes were delivered."""
    by_session: dict[str, list[datetime]] = defaultdict(list)
    for episode in episodes:
        if episode.session_id is not None:
            by_session[episode.session_id].append(episode.occurred_at)
    sessions = [
        {"session_id": id, "episode_count": len(times), "first_at": min(times), "last_at": max(times)}
        for id, times in by_session.items()
    ]
    return sorted(sessions, key=lambda session: (session["first_at"], session["session_id"]))


def explained(found: Found, situation: Situation | None, selection: Selection) -> list[dict[str, Any]]:
    """Every candidate that was looked at, best first: its signals, and why it was delivered or not."""
    columns, scores = found.columns, found.scores
    rows = sorted({*selection.chosen, *selection.left_out}, key=lambda row: (-scores.total[row], row))
    chosen = set(selection.chosen)
    return [
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
