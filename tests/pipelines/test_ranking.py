"""Ranking: a turn is found by its words, its meaning, its neighbours, its speaker and its time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.neighbourhood import neighbourhood
from pipelines.packing import rank
from pipelines.query import parse_task
from pipelines.ranking import DEFAULT_PARAMETERS, Scores, match_terms, score
from pipelines.relatedness import relatedness
from storage.passage_columns import concatenate, take
from tests.pipelines.passage_subjects import NOW, START, ask, columns, embedder, fact, split, talk

TALK = [
    *talk("Ada: The export fails again.", "Ben: Which error do you see?", "Ada: It says E-4012.", session="a"),
    *talk(
        "Ada: We had pasta yesterday.", "Ben: I prefer rice.", "Ada: My flat is in Porto.", session="b", day=40, first=4
    ),
]


def best(task: str, *speakers: str) -> str:
    return TALK[int(np.argmax(ask(columns(TALK), task, speakers=speakers).total))].text


@pytest.mark.parametrize(
    ("task", "speakers", "text"),
    [
        ("What does E-4012 mean?", (), "It says E-4012."),
        ("In which city is the apartment?", (), "My flat is in Porto."),
        ("What does Ben like to eat?", ("Ada", "Ben"), "I prefer rice."),
        ("Did Ada have pasta?", ("Ada", "Ben"), "We had pasta yesterday."),
    ],
)
def test_the_telling_turn_comes_first(task: str, speakers: tuple[str, ...], text: str) -> None:
    assert best(task, *speakers) == text


def test_a_turn_that_shares_no_word_is_found_by_its_neighbours() -> None:
    signals = ask(columns(TALK), "export")
    assert signals.lexical[0] > signals.lexical[1] > signals.lexical[2] > 0 == signals.lexical[3]


def test_neighbours_are_those_of_the_session_even_when_sessions_interleave() -> None:
    apart = columns(TALK)
    mixed = take(apart, np.array([0, 3, 1, 4, 2, 5]))
    for task in ("export error", "where is the flat", "yesterday"):
        expected = ask(apart, task).total[[0, 3, 1, 4, 2, 5]]
        assert np.allclose(ask(mixed, task).total, expected, atol=1e-6)


def test_a_date_in_the_task_prefers_what_happened_then() -> None:
    stored = columns(TALK)
    day = START + timedelta(days=40)
    signals = ask(stored, f"What was said on {day.day} {day:%B} {day.year}?")
    assert signals.date.tolist() == pytest.approx([0, 0, 0, 0.3, 0.3, 0.3])


def test_memories_have_no_neighbours_and_leave_the_scores_of_turns_alone() -> None:
    turns = columns(TALK)
    both = concatenate([turns, columns([fact("Ada lives in Porto"), fact("Ben prefers rice", number=1001)])])
    alone, together = ask(turns, "Where does Ada live?"), ask(both, "Where does Ada live?")
    assert np.allclose(together.total[: len(turns)], alone.total, atol=1e-6)
    assert together.total[-2] > together.total[-1]


def test_what_has_ended_is_not_ranked() -> None:
    stored = columns([*TALK, fact("Ada lives in Porto", until=START)])
    scores = ask(stored, "Where does Ada live?")
    now = int(NOW.timestamp() * 1e6)
    assert len(stored) - 1 not in rank(stored, scores, now=now, most=100)
    assert len(stored) - 1 in rank(stored, scores, now=0, most=100)


def test_without_vectors_words_alone_rank() -> None:
    stored = columns(TALK)
    bare = replace(
        stored, vectors=np.zeros((len(stored), 0), dtype=np.int8), scale=np.zeros(len(stored), dtype=np.float32)
    )
    query = parse_task("export", speakers=(), now=NOW)
    scores = score(bare, query, np.zeros(0, dtype=np.float32))
    assert int(np.argmax(scores.total)) == 0 and not scores.semantic.any()


def test_nothing_stored_scores_nothing() -> None:
    scores = ask(columns([]), "anything")
    assert all(len(getattr(scores, name)) == 0 for name in Scores.__struct_fields__)


sessions = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(sessions, st.integers(-3, 3))
def test_a_neighbour_is_the_next_of_the_same_session(session: list[int], distance: int) -> None:
    around = neighbourhood(np.array(session, dtype=np.uint64))
    values = np.arange(1, len(session) + 1, dtype=np.float32)
    for row, own in enumerate(session):
        members = [row] if own == 0 else [r for r, other in enumerate(session) if other == own]
        there = members.index(row) + distance
        expected = values[members[there]] if 0 <= there < len(members) else 0.0
        assert around.weighted_sum(values, ((distance, 1.0),))[row] == expected
        assert around.session_max(values)[row] == max(values[m] for m in members)
        occurrence, reached, weight = around.spread(np.array([row]), ((-distance, 0.5),))
        assert (reached.tolist(), weight.tolist()) == (([members[there]], [0.5]) if expected else ([], []))
        assert occurrence.tolist() == [0] * len(reached)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Ada", "Ben"]), st.text(min_size=1, max_size=60), st.integers(0, 2)), max_size=12
    ),
    st.text(max_size=80),
)
def test_scores_repeat_are_finite_and_are_the_sum_of_their_signals(said: list[tuple[str, str, int]], task: str) -> None:
    passages = [
        passage
        for number, (speaker, text, session) in enumerate(said)
        for passage in split({"speaker": speaker, "text": text}, number=number, session=f"s{session}")
    ]
    stored = columns(passages)
    scores = ask(stored, task, speakers=["Ada", "Ben"])
    assert np.isfinite(scores.total).all()
    parts = [getattr(scores, name) for name in Scores.__struct_fields__ if name != "total"]
    assert np.allclose(np.sum(parts, axis=0), scores.total, atol=1e-5)
    again = ask(stored, task, speakers=["Ada", "Ben"])
    assert rank(stored, scores, now=0, most=5).tolist() == rank(stored, again, now=0, most=5).tolist()


def test_equal_scores_go_to_the_newer() -> None:
    stored = columns(
        [
            *talk("Ada: Same.", session="a"),
            *talk("Ada: Same.", session="b", day=2),
            *talk("Ada: Same.", session="c", day=1),
        ]
    )
    assert rank(stored, ask(stored, "Same"), now=0, most=3).tolist() == [1, 2, 0]
    assert rank(stored, ask(stored, "Same"), now=0, most=1).tolist() == [1]


@pytest.mark.parametrize(
    ("task", "related"),
    [
        ("Why did the export fail with E-4012?", True),
        ("Where does Ada live?", True),
        ("Help the user", True),
        ("Which Kubernetes ingress controller handles quarterly tax audits?", False),
        ("Recommend a violin concerto by a Finnish composer", False),
    ],
)
def test_it_knows_when_nothing_stored_relates_to_the_task(task: str, related: bool) -> None:
    stored = columns(TALK)
    query = parse_task(task, speakers=["Ada", "Ben"], now=NOW)
    vector = embedder().embed([query.text])[0]
    matches = match_terms(stored, query.terms)
    assert relatedness(stored, query, vector, score(stored, query, vector), matches).is_related is related


def test_a_task_of_thousands_of_words_is_cut_to_its_rarest_terms() -> None:
    words = " ".join(f"word{number}" for number in range(600))
    stored = columns(talk("Ada: word7 and word8", "Ben: nothing"))
    scores = ask(stored, words)
    assert scores.lexical[0] > scores.lexical[1] > 0
    assert DEFAULT_PARAMETERS.most_terms < 600
