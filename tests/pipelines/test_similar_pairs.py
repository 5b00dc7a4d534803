"""Finding similar word sets: exactly the pairs that comparing all of them would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.similar_pairs import similar_pairs

_SETS = st.lists(st.frozensets(st.sampled_from("abcdefghij"), max_size=8), max_size=12)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


@given(_SETS, _SETS, st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_no_pair_is_missed_and_none_comes_twice(
    known: list[frozenset[str]], new: list[frozenset[str]], threshold: float
) -> None:
    everything = [*known, *new]
    found = list(similar_pairs(known, new, threshold))
    pairs = [frozenset((one, len(known) + other)) for one, other, _ in found]
    wanted = {
        frozenset((one, other))
        for one in range(len(everything))
        for other in range(max(len(known), one + 1), len(everything))
        if everything[one] and _jaccard(everything[one], everything[other]) >= threshold
    }
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == wanted


def test_the_similarity_is_shared_words_divided_by_all_words() -> None:
    known, new = [frozenset("abc")], [frozenset("abcd")]
    assert list(similar_pairs(known, new, 0.6)) == [(0, 0, 0.75)]
