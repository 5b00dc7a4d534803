"""Quoting a text in one line of limited length."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"[.!?…。！？](?=[\s\"')\]]|$)")

#: A quotation that would keep less than this share of its room when it ends with a sentence is cut at a word.
_LEAST_KEPT = 0.4


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def excerpt(text: str, characters: int) -> str:
    """The text in one line of at most so many characters: whole, or up to the end of a sentence, or of a word with an
    ellipsis that says so."""
    line = one_line(text)
    if len(line) <= characters:
        return line
    ends = [match.end() for match in _SENTENCE_END.finditer(line, 0, characters)]
    if ends and ends[-1] >= _LEAST_KEPT * characters:
        return line[: ends[-1]]
    head = line[: characters - 2]
    space = head.rfind(" ")
    return f"{head[:space] if space > 0 else head} …"
