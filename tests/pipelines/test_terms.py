"""Terms: what counts as the same word in a passage and in a task."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.terms import STOP_WORDS, hash_word, term_array, term_list


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("painted", "painting"),
        ("Museums", "museum"),
        ("Caroline's", "caroline"),
        ("café", "CAFE"),
        ("re-opened", "re opened"),
        ("INV-2043", "inv-2043"),
    ],
)
def test_forms_of_a_word_are_one_term(one: str, other: str) -> None:
    assert term_list(one) == term_list(other)


@pytest.mark.parametrize("whole", ["INV-2043", "ada@globex.example", "10.0.0.1", "E_CONN", "v2.3.1"])
def test_an_identifier_is_found_by_its_whole_and_by_its_parts(whole: str) -> None:
    terms = term_list(f"see {whole}.")
    assert hash_word(whole.lower()) in terms
    assert set(terms) > set(term_list(whole.replace("@", " ").replace(".", " ").replace("-", " ").replace("_", " ")))


def test_stop_words_are_no_terms_but_numbers_are() -> None:
    assert term_list(" ".join(sorted(STOP_WORDS))) == []
    assert len(term_list("what did you do at 7")) == 1


def test_scripts_without_spaces_match_by_pairs_of_characters() -> None:
    assert set(term_list("订单")) < set(term_list("我的订单号"))
    assert set(term_list("주문")) < set(term_list("주문번호"))


@given(st.text(max_size=400))
def test_any_text_has_terms_and_they_do_not_depend_on_what_was_read_before(text: str) -> None:
    first = term_list(text)
    assert first == term_list(text) == term_array(text).tolist()
    assert all(0 <= term < 2**32 for term in first)
