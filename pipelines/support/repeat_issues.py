"""Whether an issue is one that the subject has had before: words in common with a resolved session.

The measure is the contract's (core §7.1, §10.3): shared words over the smaller set, at least 0.3. Words are stems
(`pipelines.terms`), and words that every support conversation has do not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache

import msgspec

from pipelines.terms import term_list

#: Share of the smaller set of words from which two sessions are about the same (contract: core §7.1).
SAME_ISSUE = 0.3

#: What customers and agents say whatever the matter is.
_COURTESIES = """
hi hello hey dear thanks thank please sorry help need want get got let know see look like ok okay yes sure great good
morning afternoon evening day today team support agent user assistant customer system issue issues problem problems
question ticket still just back again something anything everything would could contact reach assist check checking
"""


class Repeat(msgspec.Struct, frozen=True, array_like=True):
    """An open session, and the resolved one that most resembles it."""

    session_id: str
    earlier_session_id: str
    share: float


@cache
def courtesy_terms() -> frozenset[int]:
    """Hashed stems of what customers and agents say whatever the matter is."""
    return frozenset(term_list(_COURTESIES))


def keywords(text: str) -> frozenset[int]:
    """Hashed stems of the words that say what a text is about."""
    return frozenset(term_list(text)) - courtesy_terms()


def find_repeats(*, open_texts: Mapping[str, str], resolved_texts: Mapping[str, str]) -> list[Repeat]:
    """For each open session the resolved one it shares most with, if it shares enough; by session id."""
    if not open_texts or not resolved_texts:
        return []
    resolved = {id: words for id, text in resolved_texts.items() if (words := keywords(text))}
    sessions_with: dict[int, list[str]] = defaultdict(list)
    for id, words in sorted(resolved.items()):
        for word in words:
            sessions_with[word].append(id)
    repeats = []
    for id, text in sorted(open_texts.items()):
        words = keywords(text)
        shared = Counter(earlier for word in words for earlier in sessions_with.get(word, ()))
        best = max(
            ((count / min(len(words), len(resolved[earlier])), earlier) for earlier, count in shared.items()),
            default=None,
        )
        if best is not None and best[0] >= SAME_ISSUE:
            repeats.append(Repeat(id, best[1], round(best[0], 4)))
    return repeats
