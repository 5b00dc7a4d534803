"""Subjects made of passages, without a database: what ranking and packing tests talk about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np

from pipelines.embedder_local import LocalEmbedder
from pipelines.passages import Passage, columns_of, episode_text, memory_passage, passage_texts, split_episode
from pipelines.query import parse_task
from pipelines.ranking import Scores, score
from storage.passage_columns import PassageColumns

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@cache
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


def split(payload: dict[str, Any], *, number: int = 1, session: str | None = "s", **fields: Any) -> list[Passage]:
    """The passages of one episode."""
    given = {"source": "chat", "occurred_at": START, **fields}
    return split_episode(payload, episode_id=UUID(int=number), text=episode_text(payload), session_id=session, **given)


def talk(*lines: str, session: str = "s", day: int = 0, first: int = 1) -> list[Passage]:
    """One episode per line "Name: words", all in one session."""
    return [
        passage
        for number, line in enumerate(lines, start=first)
        for passage in split(
            {"text": line}, number=number, session=session, occurred_at=START + timedelta(days=day, minutes=number)
        )
    ]


def fact(content: str, *, number: int = 1000, kind: str = "profile_fact", until: datetime | None = None) -> Passage:
    return memory_passage(memory_id=UUID(int=number), kind=kind, content=content, valid_from=START, valid_to=until)


def columns(passages: Sequence[Passage]) -> PassageColumns:
    if not passages:
        return columns_of([], np.zeros((0, embedder().dimensions), dtype=np.float32))
    return columns_of(passages, embedder().embed(passage_texts(passages)))


def ask(stored: PassageColumns, task: str, *, speakers: Sequence[str] = ()) -> Scores:
    query = parse_task(task, speakers=speakers, now=NOW)
    return score(stored, query, embedder().embed([query.text])[0])
