"""Comparing two texts by their words: how much they share, whether one denies the other, and what they name.

Words are all this sees. It knows English negation; in other languages two texts that deny each other look alike.
"""

from __future__ import annotations

from typing import NamedTuple

from pipelines.compilation import words

_NEGATORS = frozenset(
    "not no never none neither nor without cannot can't don't doesn't didn't isn't wasn't aren't weren't won't wouldn't"
    " shouldn't couldn't hasn't haven't hadn't dont doesnt didnt isnt wasnt cant wont".split()
)
#: What a negated helper verb leaves behind, so that "isn't" and "is not", "don't" and "do not" come to the same.
_HELPERS = {"isn't": "is", "wasn't": "was", "aren't": "are", "weren't": "were", "can't": "can", "cannot": "can"} | {
    "won't": "will",
    "hasn't": "has",
    "haven't": "have",
    "isnt": "is",
    "wasnt": "was",
    "cant": "can",
    "wont": "will",
}
_SILENT = frozenset({"do", "does", "did"})

#: Verbs that say the same or the opposite of another verb. The opposite ones turn the meaning round.
_SAME = {"love": "like", "enjoy": "like", "adore": "like", "loves": "likes", "enjoys": "likes", "adores": "likes"}
_OPPOSITE = {"hate": "like", "dislike": "like", "detest": "like", "hates": "likes", "dislikes": "likes"}

#: Words that begin sentences: their capital letter makes no name of them.
_COMMON_STARTS = frozenset(
    "i i'm i've my me we we're our you your the a an this that these those it its it's he she they his her their there"
    " user users customer client person caller speaker agent assistant order ticket account when if to for in on at and"
    " but or so please always never don't do not no prefers prefer likes like loves love hates hate dislikes enjoys uses"
    " use used using works work lives live has have had is are was were wants want needs need knows speaks owns asked"
    " said reported allergic based born moved currently now still also fix fixed resolved the after before".split()
)

_IDENTIFIER = frozenset("0123456789@")


class Wording(NamedTuple):
    """A text as it is compared.

    `core` is its words without negation; `is_negated` whether an odd number of negations was taken out; `names` the
    words of the core that look like a name, a number or an identifier, in their order.
    """

    core: frozenset[str]
    is_negated: bool
    names: tuple[str, ...]


def wording(text: str) -> Wording:
    """Reduce a text to what is compared."""
    core: list[str] = []
    names: list[str] = []
    negations = 0
    for raw in text.split():
        lowered = raw.lower()
        found = words(lowered) if not lowered.isalpha() else (lowered,)
        if not found:
            continue
        word = found[0]
        if word in _NEGATORS:
            negations += 1
            word = _HELPERS.get(word, "")
        elif word in _OPPOSITE:
            negations += 1
            word = _OPPOSITE[word]
        else:
            word = _SAME.get(word, word)
        if not word or word in _SILENT:
            continue
        core.append(word)
        if (raw != lowered and word not in _COMMON_STARTS) or not (word.isalpha() or _IDENTIFIER.isdisjoint(word)):
            names.append(word)
    return Wording(frozenset(core), negations % 2 == 1, tuple(names))


def similarity(one: Wording, other: Wording) -> float:
    """Jaccard similarity of the cores: shared words divided by all words."""
    shared = len(one.core & other.core)
    return shared / (len(one.core) + len(other.core) - shared) if shared else 0.0


def name_different_things(one: Wording, other: Wording) -> bool:
    """Whether each of two texts names something that the other does not mention."""
    return any(name not in other.core for name in one.names) and any(name not in one.core for name in other.names)
