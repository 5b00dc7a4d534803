"""A brief keeps its budget, and loses what helps least first."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.services import Services
from pipelines.support.brief import Line, keep_within, render
from pipelines.support.excerpts import excerpt
from pipelines.tokens import count_tokens
from tests.pipelines.support.story import Story

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=60).map(
    lambda t: " ".join(t.split())
)
sections = st.sampled_from(["", "## One", "## Two"])
lines = st.lists(st.builds(Line, sections, words, st.integers(0, 5)), max_size=12).map(
    lambda unsorted: sorted(unsorted, key=lambda line: line.section)
)


@given(lines, st.integers(1, 200))
def test_never_over_budget(candidates: list[Line], budget: int) -> None:
    text, _ = render(keep_within(candidates, budget=budget))
    assert count_tokens(text) <= budget


@given(lines)
def test_everything_is_kept_where_there_is_room(candidates: list[Line]) -> None:
    assert keep_within(candidates, budget=100_000) == candidates


@given(lines, st.integers(1, 200))
def test_whole_lines_in_their_order(candidates: list[Line], budget: int) -> None:
    kept = iter(candidates)
    assert all(any(line is candidate for candidate in kept) for line in keep_within(candidates, budget=budget))


@given(lines, st.integers(1, 200))
def test_nothing_less_useful_takes_the_place_of_what_was_dropped(candidates: list[Line], budget: int) -> None:
    kept = keep_within(candidates, budget=budget)
    could_fit = [
        line for line in candidates if count_tokens(line.text) + (count_tokens(line.section) + 2) + 1 <= budget
    ]
    dropped = [line for line in could_fit if not any(line is other for other in kept)]
    if dropped and kept:
        assert max(line.rank for line in kept) <= min(line.rank for line in dropped)


@given(lines)
def test_each_line_is_named_with_its_number(candidates: list[Line]) -> None:
    text, origins = render(candidates)
    written = text.split("\n")
    assert [written[origin["line"] - 1] for origin in origins] == [line.text for line in candidates]


@given(st.text(max_size=400), st.integers(20, 200))
def test_an_excerpt_keeps_its_length(text: str, characters: int) -> None:
    cut = excerpt(text, characters)
    assert len(cut) <= characters
    assert "\n" not in cut


def test_an_excerpt_ends_with_a_sentence_or_says_that_it_does_not() -> None:
    assert excerpt("It fails. I tried it twice on my phone.", 20) == "It fails."
    assert excerpt("It fails whenever I try to open the export", 20) == "It fails whenever …"
    assert excerpt("version 2.5.1 of the export fails whenever it is opened", 30) == "version 2.5.1 of the export …"


@pytest.fixture
def story(services: Services) -> Story:
    story = Story(services)
    for number in range(6):
        story.says(f"old-{number}", "user", f"An older question about topic {number}. It was long ago.", ago=20 * DAY)
        story.ends(f"old-{number}", "resolved", f"Topic {number} was explained", ago=19 * DAY)
    story.says(
        "now", "user", "My name is Ada. I work at Globex. The export has been broken since Monday.", ago=30 * HOUR
    )
    for number in range(7):
        story.says("now", "agent", f"Step {number}: I restarted part {number} of the export. No luck.", ago=29 * HOUR)
    story.ends("now", "open", "Export is broken")
    story.compiled()
    return story


def test_a_brief_keeps_every_budget_and_only_whole_lines(story: Story) -> None:
    whole = story.handoff("now", max_tokens=16_000).handoff_notes.split("\n")
    for budget in (1, 2, 5, 10, 20, 30, 40, 50, 70, 90, 120, 160, 200, 250, 300, 400, 500):
        brief = story.handoff("now", max_tokens=budget)
        assert count_tokens(brief.handoff_notes) == brief.token_estimate <= budget
        assert set(brief.handoff_notes.split("\n")) <= {*whole, ""}


def test_what_helps_least_goes_first(story: Story) -> None:
    """As the budget shrinks, sections leave in this order."""
    last_seen = {}
    for budget in range(600, 20, -5):
        notes = story.handoff("now", max_tokens=budget).handoff_notes
        for heading in (
            "# Handoff Brief",
            "## Active Issue",
            "## Customer Health",
            "## Key Facts",
            "## Recent Context",
        ):
            if heading in notes:
                last_seen[heading] = budget
    assert list(last_seen) == sorted(last_seen, key=lambda heading: last_seen[heading])


def test_the_newest_steps_are_told_in_order(story: Story) -> None:
    steps = story.handoff("now").attempted_steps
    assert [step[:6] for step in steps] == [f"Step {number}" for number in (2, 3, 4, 5, 6)]
