"""Comparing two texts by their words: how much they share, whether one denies the other, and what they name.

Words are all this sees. It knows English negation; in other languages two texts that deny each other look alike.
"""

from __future__ import annotations

from typing import NamedTuple

from pipelines.compilation import EDGES

_HELPERS = ("is", "was", "are", "were", "would", "should", "could", "has", "have", "had")

#: What a word is compared as, and whether it turns the meaning round. An empty word is left out of the comparison.
_MEANINGS: dict[str, tuple[str, bool]] = {
    **dict.fromkeys("not no never none neither nor without don't doesn't didn't dont doesnt didnt".split(), ("", True)),
    **dict.fromkeys(("do", "does", "did"), ("", False)),
    **{f"{verb}n't": (verb, True) for verb in _HELPERS},
    **{f"{verb}nt": (verb, True) for verb in _HELPERS},
    **dict.fromkeys(("can't", "cannot", "cant"), ("can", True)),
    **dict.fromkeys(("won't", "wont"), ("will", True)),
    **dict.fromkeys(("love", "enjoy", "adore"), ("like", False)),
    **dict.fromkeys(("loves", "enjoys", "adores"), ("likes", False)),
    **dict.fromkeys(("hate", "dislike", "detest"), ("like", True)),
    **dict.fromkeys(("hates", "dislikes", "detests"), ("likes", True)),
}

#: Words that begin sentences: their capital letter makes no name of them.
_COMMON_STARTS = frozenset(
    "i i'm i've my me we we're our you your the a an this that these those it its it's he she they his her their there"
    " user users customer client person caller speaker agent assistant order ticket account when if to for in on at and"
    " but or so please always never don't do not no prefers prefer likes like loves love hates hate dislikes enjoys"
    " uses use used using works work lives live has have had is are was were wants want needs need knows speaks owns"
    " asked said reported allergic based born moved currently now still also fix fixed resolved after before".split()
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
    negated = False
    for raw in text.split():
        lowered = raw.lower()
        word = lowered.strip(EDGES)
        if word in _MEANINGS:
            word, denies = _MEANINGS[word]
            negated ^= denies
        if not word:
            continue
        core.append(word)
        if (raw != lowered and word not in _COMMON_STARTS) or not (word.isalpha() or _IDENTIFIER.isdisjoint(word)):
            names.append(word)
    return Wording(frozenset(core), negated, tuple(names))


def name_different_things(one: Wording, other: Wording) -> bool:
    """Whether each of two texts names something that the other does not mention."""
    return any(name not in other.core for name in one.names) and any(name not in one.core for name in other.names)
