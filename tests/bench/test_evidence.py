"""What counts as delivered evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.conversation import Conversation, parse
from bench.evidence import contains, judge, normalise, says_nothing_relates, without_task

TURN = "Two steps:\n1. Unplug the Hub and count to thirty.\n2. Plug it in again, and wait for the white light. Bye."


def conversation() -> Conversation:
    texts = [
        "Hello there, this is Ann.",
        "My invoice is wrong.",
        "It says forty euros.",
        "I see, that is odd.",
    ]
    return parse(
        "ann",
        {
            "speaker_a": "Ann",
            "speaker_b": "Ben",
            "session_1_date_time": "9:12 am on 3 March, 2025",
            "session_1": [
                {"speaker": "Ann", "dia_id": f"D1:{n}", "text": text} for n, text in enumerate(texts, start=1)
            ],
            "qa": [{"question": "How much?", "answer": "40", "evidence": ["D1:2; D:1:3"], "category": 1}],
        },
    )


def test_a_turn_is_delivered_when_its_text_is_there_with_other_white_space() -> None:
    assert contains(normalise(f"## Recent interactions\n- [2025] Sam: {TURN.replace(chr(10), '  ')} More."), TURN)


def test_a_turn_is_delivered_when_its_passages_are_there_in_two_places() -> None:
    first, second = TURN[:52], TURN[52:]
    assert contains(normalise(f"- {second}\n- something else\n- {first}"), TURN)


@pytest.mark.parametrize("cut", ["Two steps:", "count to thirty.", "white light.", "Bye."])
def test_a_turn_with_anything_missing_is_not_delivered(cut: str) -> None:
    assert not contains(normalise(TURN.replace(cut, "")), TURN)


def test_a_short_turn_is_not_found_inside_another_word() -> None:
    assert not contains("a stoney road", "stone")
    assert contains("It's on a stone.", "stone")


def test_a_short_sentence_proves_nothing_by_itself() -> None:
    turn = "It works again since this morning, thank you. Bye."
    assert not contains("It works again since this morning, thank you. Somebody else said: Bye.", turn)


def test_gold_and_its_direct_neighbours_are_useful_text() -> None:
    subject = conversation()
    delivered = " ".join(turn.text for turn in subject.turns.values())
    judgement = judge(subject, subject.questions[0], delivered=delivered)
    assert judgement.complete
    assert judgement.precision == pytest.approx((len(delivered) - 3) / len(delivered))


def test_missing_gold_is_named() -> None:
    subject = conversation()
    judgement = judge(subject, subject.questions[0], delivered="Ann: My invoice is wrong.")
    assert judgement.missed == ("D1:3",)
    assert judgement.recall == 0.5
    assert not judgement.complete


@given(st.text(min_size=1, max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_a_turn_between_other_lines_is_always_delivered(turn: str, before: str, after: str) -> None:
    assert contains(normalise(f"{before} \n- {turn} \n{after}"), turn)


def test_the_task_is_no_part_of_what_was_delivered() -> None:
    assert without_task("## Task\nWhy?\n\n## Procedures\n- Because.", "Why?") == "\n\n## Procedures\n- Because."


@pytest.mark.parametrize(
    ("delivered", "expected"),
    [
        ("\n\n_Nothing stored relates to this task._\n", True),
        ("\n*Nothing stored relates to this task.*\n\n## About this user\n- x", True),
        ("\n\n## About this user\n- _x_", False),
        ("\n- plain line\n", False),
        ("", False),
    ],
)
def test_an_honest_empty_answer_is_recognised(delivered: str, *, expected: bool) -> None:
    assert says_nothing_relates(delivered) is expected
