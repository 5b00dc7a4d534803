"""Suggesting labels: right on a corpus, and in time that grows with the text and no faster."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.label_corpus import corpus
from bench.labels import measure
from pipelines.labels import contact, financial, network, secrets
from pipelines.labels.detectors import CATALOGUE, DETECTORS, suggest_labels
from pipelines.labels.financial import luhn, mod_97

parser: Any = re._parser  # type: ignore[attr-defined]

PATTERNS = {
    "email": contact.EMAIL,
    "international": contact.INTERNATIONAL,
    "north american": contact.NORTH_AMERICAN,
    "card": financial.CARD,
    "iban": financial.IBAN,
    "v4": network.V4,
    "v6": network.V6,
    "tokens": secrets.TOKENS,
    "private key": secrets.PRIVATE_KEY,
}

#: Steps that a match may take from one place: the longest token, a JWT, has parts of thousands of characters.
MOST_STEPS = 20_000

MEGABYTE = 1_000_000


def test_suggestions_are_right_on_the_corpus() -> None:
    samples = corpus()
    assert len(samples) >= 500
    assert len({sample.text for sample in samples}) == len(samples)
    for label, figures in measure(samples).items():
        assert figures.right >= 8, label
        assert figures.precision >= 0.97, (label, figures.wrong)
        assert figures.recall >= 0.97, (label, figures.missed)


def test_the_catalogue_names_every_detector() -> None:
    assert {entry.label for entry in CATALOGUE} == set(DETECTORS)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("ada@globex.example, 555-867-5309, card 4111 1111 1111 1111", ["financial.card", "pii.email", "pii.phone"]),
        ("nothing of that kind", []),
        ("", []),
    ],
)  # fmt: skip
def test_several_kinds_are_suggested_at_once_sorted(text: str, labels: list[str]) -> None:
    assert suggest_labels(text) == labels


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_can_take_more_than_a_bounded_number_of_steps_from_one_place(name: str) -> None:
    assert steps(parser.parse(PATTERNS[name].pattern, PATTERNS[name].flags)) <= MOST_STEPS


def steps(tree: Any) -> int:
    """How many characters a match can consume at most; raises for a repetition without a bound.

    With bounded repetitions, none of them inside another but for those that a separator tells apart, backtracking from
    one place is bounded too, so a text costs at most this many steps for each of its characters.
    """
    total = 0
    for operator, argument in tree:
        match str(operator):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                _, most, inner = argument
                assert most is not parser.MAXREPEAT, "a repetition without a bound"
                total += int(most) * steps(inner)
            case "SUBPATTERN":
                total += steps(argument[3])
            case "BRANCH":
                total += max(steps(branch) for branch in argument[1])
            case "ASSERT" | "ASSERT_NOT" | "AT":
                pass
            case _:
                total += 1
    return total


@pytest.mark.parametrize(
    "unit",
    ["a@", "1 ", "a:", "sk-a", "DE89", "order no. ", "::1 ", "-----BEGIN PRIVATE KEY-----"],
)
def test_a_megabyte_made_to_be_slow_gives_candidates_in_proportion(unit: str) -> None:
    text = unit * (MEGABYTE // len(unit))
    candidates = {name: sum(1 for _ in pattern.finditer(text)) for name, pattern in PATTERNS.items()}
    assert max(candidates.values()) <= MEGABYTE // 4
    suggest_labels(text)


@given(st.text(max_size=400) | st.text(alphabet="0123456789 +-().:@aAfFeyJsk_", max_size=400))
def test_no_text_makes_a_detector_fail(text: str) -> None:
    assert set(suggest_labels(text)) <= set(DETECTORS)


@given(st.text(alphabet="0123456789", min_size=12, max_size=18))
def test_a_check_digit_makes_exactly_one_number_of_ten_valid(body: str) -> None:
    assert sum(luhn(body + digit) for digit in "0123456789") == 1


def test_check_digits_of_accounts_are_those_of_the_registry() -> None:
    assert mod_97("GB82WEST12345698765432") == 1
    assert mod_97("DE89370400440532013000") == 1
    assert mod_97("DE89370400440532013001") != 1
