"""Finding the pairs of word sets that share enough words, without looking at all pairs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence


def similar_pairs(
    known: Sequence[frozenset[str]], new: Sequence[frozenset[str]], threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs whose Jaccard similarity (shared words divided by all words) is at least `threshold`.

    A pair is (i, j, similarity) where j is an index of `new` and i one of `known + new`; each pair comes once, and
    pairs of two known sets never. Empty sets are similar to nothing.

    Prefix filtering: with the n words of a set sorted from rare to common, a set of similarity t contains one of its
    first n - ceil(t * n) + 1 words, so only those are indexed (Bayardo, Ma, Srikant: Scaling up all pairs similarity
    search, 2007). That holds for either set of a pair, so a pair of new sets is found from the first of them. In the
    worst case, all sets alike, every pair is looked at.
    """
    if not new:
        return
    frequency = Counter(word for words in (*known, *new) for word in words)
    index: dict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(new):
        ordered = sorted(words, key=lambda word: (frequency[word], word))
        for word in ordered[: len(ordered) - math.ceil(threshold * len(ordered) - 1e-9) + 1]:
            index[word].append(number)
    indexed = frozenset(index)
    for place, words in enumerate((*known, *new)):
        shared = words & indexed
        if not shared:
            continue
        own = place - len(known)
        least, most = threshold * len(words), len(words) / threshold
        for number in {number for word in shared for number in index[word]}:
            if number <= own or not least <= len(new[number]) <= most:
                continue
            score = _similarity(words, new[number])
            if score >= threshold:
                yield place, number, score


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0
