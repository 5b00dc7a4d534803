"""Packing: never over budget, never empty when something fits, evidence before what was drawn from it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packing import DEFAULT_PACKING, Selection, pack
from pipelines.passages import Passage, day_line, memory_line, turn_line
from pipelines.tokens import count_tokens
from storage.passage_columns import Kind
from tests.pipelines.passage_subjects import START, columns, fact, split, talk

HEADINGS = {
    Kind.PROFILE_FACT: "## About this user",
    Kind.PROCEDURE: "## Procedures",
    Kind.EPISODE_SUMMARY: "## Recent history",
    Kind.TURN: "## Recent interactions",
}


def written(passages: list[Passage], selection: Selection) -> str:
    """The chosen passages as a context writes them."""
    lines: list[str] = []
    for kind, heading in HEADINGS.items():
        rows = [row for row in selection.chosen if passages[row].kind == kind]
        if not rows:
            continue
        lines += [heading]
        if kind != Kind.TURN:
            lines += [memory_line(passages[row].text, passages[row].occurred_at) for row in rows]
        for day in sorted({passages[row].occurred_at.date() for row in rows} if kind == Kind.TURN else ()):
            lines += [day_line(day)]
            lines += [
                turn_line(passages[row].text, passages[row].speaker)
                for row in rows
                if passages[row].occurred_at.date() == day
            ]
        lines += [""]
    return "\n".join(lines)


subjects = st.lists(
    st.tuples(
        st.sampled_from(["turn", "turn", "turn", "profile_fact", "procedure", "episode_summary"]),
        st.text(alphabet="abc déf.!?\n漢", min_size=1, max_size=200).filter(str.strip),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=25,
)


def passages_of(drawn: list[tuple[str, str, int]]) -> list[Passage]:
    passages: list[Passage] = []
    for number, (kind, text, day) in enumerate(drawn):
        if kind == "turn":
            at = START + timedelta(days=day)
            passages += split({"speaker": "Ada", "text": text}, number=number, session=f"s{day}", occurred_at=at)
        else:
            passages.append(fact(text, kind=kind, number=number))
    return passages


@settings(max_examples=150, deadline=None)
@given(subjects, st.integers(0, 400), st.randoms(use_true_random=False))
def test_what_is_written_is_within_the_budget_and_something_is_if_anything_fits(
    drawn: list[tuple[str, str, int]], budget: int, random: object
) -> None:
    passages = passages_of(drawn)
    stored = columns(passages)
    order = list(range(len(passages)))
    random.shuffle(order)  # type: ignore[attr-defined]
    selection = pack(stored, order, budget=budget)
    if selection.cut is None:
        assert count_tokens(written(passages, selection)) <= selection.tokens <= max(budget, 0)
    else:
        row, room = selection.cut
        assert selection.chosen == [row] == order[:1] and 0 < room < stored.tokens[row]
    assert sorted([*selection.chosen, *selection.left_out]) == sorted(order)
    frame = DEFAULT_PACKING.section + DEFAULT_PACKING.day_line
    if any(int(tokens) + frame <= budget for tokens in stored.tokens):
        assert selection.chosen and selection.cut is None


@settings(max_examples=50, deadline=None)
@given(subjects, st.integers(0, 400))
def test_the_same_is_chosen_again(drawn: list[tuple[str, str, int]], budget: int) -> None:
    stored = columns(passages_of(drawn))
    order = np.arange(len(stored))
    assert pack(stored, order, budget=budget) == pack(stored, order.tolist(), budget=budget)


def test_everything_is_taken_when_everything_fits() -> None:
    stored = columns([*talk("Ada: I moved to Porto.", "Ben: How nice."), fact("Ada lives in Porto")])
    assert pack(stored, [2, 0, 1], budget=500).chosen == [2, 0, 1]


def test_a_fact_whose_turn_is_delivered_waits_until_the_turns_are_packed() -> None:
    passages = [*talk("Ada: I moved to Porto.", "Ben: How nice of the landlord."), fact("moved to Porto")]
    stored = columns(passages)
    frame = DEFAULT_PACKING.section + DEFAULT_PACKING.day_line
    both_turns = frame + int(stored.tokens[:2].sum())
    assert pack(stored, [0, 2, 1], budget=both_turns).chosen == [0, 1]
    assert pack(stored, [0, 2, 1], budget=both_turns + 100).chosen == [0, 2, 1]


def test_a_fact_gives_its_place_back_when_its_turn_comes_after_it() -> None:
    talked = talk("Ada: I moved to Porto.", "Ben: How nice of the landlord to wait.", "Ada: He is patient with me.")
    stored = columns([*talked, fact("moved to Porto")])
    share = int(stored.tokens[3]) + DEFAULT_PACKING.section
    budget = DEFAULT_PACKING.section + DEFAULT_PACKING.day_line + int(stored.tokens[:3].sum())
    assert share <= budget
    selection = pack(stored, [3, 0, 1, 2], budget=budget, parameters=type(DEFAULT_PACKING)(memory_share=1.0))
    assert selection.chosen == [0, 1, 2] and selection.left_out == {3: "duplicate"}


def test_memories_take_a_bounded_share_while_turns_are_left() -> None:
    facts = [fact(f"Fact {number} about gardening tools and seeds", number=2000 + number) for number in range(30)]
    turns = talk(*(f"Ada: Turn {number} tells of another journey entirely." for number in range(30)))
    stored = columns([*facts, *turns])
    selection = pack(stored, list(range(60)), budget=300)
    of_facts = sum(int(stored.tokens[row]) for row in selection.chosen if row < 30)
    assert 0 < of_facts <= 300 * DEFAULT_PACKING.memory_share
    assert sum(row >= 30 for row in selection.chosen) > 10


def test_a_summary_is_delivered_only_where_its_turns_are_not() -> None:
    stored = columns(
        [
            *talk("Ada: I moved to Porto."),
            fact("moved to Porto", kind="episode_summary"),
            fact("Ada adopted a kitten", kind="episode_summary", number=3),
        ]
    )
    selection = pack(stored, [1, 2, 0], budget=500)
    assert selection.chosen == [2, 0] and selection.left_out == {1: "duplicate"}


def test_the_same_words_on_the_same_day_are_delivered_once() -> None:
    again = talk("Ada: The red server crashed.", "Ada: The red server crashed.")
    later = talk("Ada: The red server crashed.", day=3, session="t", first=9)
    stored = columns([*again, *later])
    selection = pack(stored, [0, 1, 2], budget=500)
    assert selection.chosen == [0, 2] and selection.left_out == {1: "duplicate"}


def test_an_item_larger_than_the_budget_is_cut_rather_than_nothing_delivered() -> None:
    stored = columns(talk("Ada: " + "The quick brown fox jumps over the lazy dog near the river. " * 6))
    budget = 30
    selection = pack(stored, [0], budget=budget)
    assert selection.chosen == [0]
    assert selection.cut == (0, budget - DEFAULT_PACKING.section - DEFAULT_PACKING.day_line)
    assert pack(stored, [0], budget=3).chosen == []
