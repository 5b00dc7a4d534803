"""Full-text queries out of whatever a caller types."""

from __future__ import annotations

import re

#: Words of a query beyond this number are left out: nobody means them, and each costs a comparison per row.
MOST_WORDS = 64

_WORD = re.compile(r"\w+")


def any_word_query(text: str) -> str:
    """The text form of a `to_tsquery` argument that matches any word of `text`; empty when it has none.

    Every word is quoted, so that no operator of the query language can come out of user text: any Unicode string
    without NUL gives a valid query.
    """
    words = dict.fromkeys(_WORD.findall(text)[:MOST_WORDS])
    return " | ".join(f"'{word}'" for word in words)


def substring_pattern(text: str) -> str:
    """An `ilike` pattern that finds `text` itself anywhere; `%`, `_` and the escape character lose their meaning."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
