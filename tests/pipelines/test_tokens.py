"""Token estimates: near the truth for English, and exactly additive over lines, which is what packing relies on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import tokens
from pipelines.tokens import count_tokens

#: Texts of ours with their length in cl100k_base, counted once with the real tokenizer.
COUNTED = [
    (
        "Good morning, I'm writing about invoice LL-20418 from February. Our bank shows that €1,140 left"
        " the account twice, on the 3rd and again on the 5th, and nobody here can explain it.",
        48,
    ),
    (
        "Thanks for waiting, Priya! I found the cause: the first attempt timed out, and our collector "
        "retried without waiting for the answer. The second payment will be returned within five working"
        " days.",
        40,
    ),
    (
        "We went camping near the lake last weekend and it was wonderful. The kids saw two deer in the "
        "morning mist, and my sister finally learned how to light a fire without matches!",
        36,
    ),
    (
        "To reset the device, hold the power button for ten seconds, wait until the light blinks blue, "
        'and then choose "Restore" from the settings menu. If it fails again, please send us the log '
        "file.",
        44,
    ),
    (
        "Honestly, I think the new design looks great; it's much easier to read than the old one. Could "
        "you also make the font a bit larger on small screens?",
        34,
    ),
    (
        "Our policy allows returns within thirty days of delivery, provided that the item is unused and "
        "in its original packaging. Refunds are issued to the original payment method.",
        32,
    ),
    (
        "Marcus told me he is moving to Lisbon in September because his company opened an office there. "
        "He is a little nervous about learning Portuguese, but he has already found a small apartment.",
        36,
    ),
]


@given(st.text(max_size=300), st.text(max_size=300))
def test_estimates_of_lines_add_up_exactly(first: str, second: str) -> None:
    assert count_tokens(first + "\n" + second) == count_tokens(first + "\n") + count_tokens(second)


@given(st.text(max_size=300))
def test_an_estimate_is_never_negative_and_repeats(text: str) -> None:
    assert count_tokens(text) == count_tokens(text) >= 0
    assert not text.strip() or "\n" in text or count_tokens(text) > 0


@pytest.mark.parametrize(("text", "tokens"), COUNTED)
def test_a_paragraph_is_estimated_within_a_tenth(text: str, tokens: int) -> None:
    assert abs(count_tokens(text) - tokens) <= 0.1 * tokens


def test_all_of_them_together_are_estimated_within_three_hundredths() -> None:
    real = sum(tokens for _, tokens in COUNTED)
    assert 0.99 * real <= sum(count_tokens(text) for text, _ in COUNTED) <= 1.03 * real


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_a_line_costs_the_same_the_second_time(lines: list[str]) -> None:
    text = "\n".join(lines)
    tokens._lines.clear()
    first = count_tokens(text)
    assert (
        count_tokens(text)
        == first
        == sum(count_tokens(f"{line}\n") for line in text.split("\n")[:-1]) + (count_tokens(text.split("\n")[-1]))
    )
    assert len(tokens._lines) <= tokens._MOST_LINES_REMEMBERED
