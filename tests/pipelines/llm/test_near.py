"""Which memories are alike enough to be compared, and which are the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.compilation import DraftMemory, ExistingMemory, content_hash
from pipelines.llm.near import Likeness

WHEN = datetime(2026, 3, 1, tzinfo=UTC)


def one_direction(count: int) -> NDArray[np.float32]:
    """Vectors of texts that all mean the same."""
    return np.tile(np.array([1, 0], dtype=np.float32), (count, 1))


def draft(content: str, kind: str = "profile_fact", **claim: Any) -> DraftMemory:
    return DraftMemory(
        kind=kind, content=content, summary=content, confidence=1, valid_from=WHEN, source_episode_ids=[uuid4()],
        metadata={}, content_hash=content_hash(content), **claim,
    )  # fmt: skip


def stored(content: str, kind: str = "profile_fact", **claim: Any) -> ExistingMemory:
    return ExistingMemory(
        id=uuid4(), kind=kind, content=content, valid_from=WHEN, valid_to=None, source_episode_ids=[uuid4()],
        metadata={}, content_hash=content_hash(content), **{"claim_key": None, "claim_value": None, **claim},
    )  # fmt: skip


def repeats(one: DraftMemory, other: ExistingMemory) -> bool:
    return bool(Likeness([one], [other], one_direction(2)).same(threshold=0.95, among=1))


def test_what_means_the_same_is_the_same() -> None:
    assert repeats(draft("the user enjoys hiking"), stored("hiking is a hobby of the user"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the user likes hiking", "the user does not like hiking"),
        ("order 123 is late", "order 456 is late"),
        ("the user met Ann", "the user met Bob"),
    ],
)
def test_what_vectors_do_not_see_keeps_them_apart(one: str, other: str) -> None:
    assert not repeats(draft(one), stored(other))


def test_other_kinds_and_summaries_and_other_claims_are_never_the_same() -> None:
    assert not repeats(draft("the user hikes"), stored("the user walks", kind="procedure"))
    assert not repeats(draft("a talk", kind="episode_summary"), stored("a chat", kind="episode_summary"))
    assert not repeats(
        draft("uses pytest", claim_key="tools.used", claim_value="pytest"),
        stored("uses mypy", claim_key="tools.used", claim_value="mypy"),
    )


def test_of_two_drafts_the_first_is_kept() -> None:
    two = [draft("the user hikes"), draft("the user walks")]
    verdicts = Likeness(two, [], one_direction(2)).same(threshold=0.95, among=0)
    assert [(verdict.index, verdict.of) for verdict in verdicts] == [(1, 0)]


def test_without_vectors_words_say_what_is_near_and_nothing_is_the_same() -> None:
    likeness = Likeness([draft("tea with lemon")], [stored("no coffee"), stored("tea with milk")], None)
    assert [neighbour.place for neighbour in likeness.neighbours(0, most=5, among=2)] == [1]
    assert likeness.neighbours(0, most=5, among=1) == []
    assert likeness.same(threshold=0.1, among=2) == []


def test_only_so_many_stored_memories_are_looked_at() -> None:
    near = [stored("a knight rides"), stored("the user walks")]
    likeness = Likeness([draft("the user hikes")], near, one_direction(3))
    assert likeness.same(threshold=0.95, among=0) == []
    assert [neighbour.place for neighbour in likeness.neighbours(0, most=5, among=1)] == [0]
