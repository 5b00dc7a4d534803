"""Cutting text into sentences, in one pass whose time grows with the text and not faster."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Characters. Patterns are linear only because no sentence is longer; what has no full stop is cut at a space.
SENTENCE_CHARS = 400

_BOUNDARY = re.compile(r"[.!?…][\"')\]]{0,2}(?=\s)|\n")
_PLAIN_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\u00a0": " ", "\0": None})


class Sentence(NamedTuple):
    """A sentence, its place in the utterance, and whether it begins inside a quotation."""

    text: str
    start: int
    in_quotes: bool


def plain(text: str) -> str:
    """Straighten quotation marks and take out what a voice cites: code blocks and quoted mail."""
    text = text.replace("\0", "") if text.isascii() else text.translate(_PLAIN_QUOTES)
    if "```" in text:
        text = "\n".join(text.split("```")[::2])
    if ">" in text:
        text = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(">"))
    return text


def sentences(text: str, abbreviations: frozenset[str]) -> list[Sentence]:
    """Split at sentence ends and line breaks; a dot after an abbreviation, an initial or a list number ends nothing.

    Args:
        text: What was said, made `plain`.
        abbreviations: Lower-case, without their last dot.
    """
    found: list[Sentence] = []
    start = 0
    quotes = 0
    for boundary in _BOUNDARY.finditer(text):
        end = boundary.end()
        if text[boundary.start()] == "." and _is_abbreviation(text, start, boundary.start(), abbreviations):
            continue
        _append(found, text, start, end, quotes)
        quotes = 0 if text[boundary.start()] == "\n" else quotes + text.count('"', start, end)
        start = end
    _append(found, text, start, len(text), quotes)
    return found


def _is_abbreviation(text: str, start: int, dot: int, abbreviations: frozenset[str]) -> bool:
    space = max(text.rfind(" ", max(start, dot - 12), dot), start - 1)
    word = text[space + 1 : dot].strip("\"'( \t")
    if len(word) == 1:
        return word.isupper() and word != "I"
    if word.isdigit():
        return text[start:dot].strip() == word
    return word.lower() in abbreviations


def _append(found: list[Sentence], text: str, start: int, end: int, quotes: int) -> None:
    while end - start > SENTENCE_CHARS:
        space = text.rfind(" ", start + SENTENCE_CHARS // 2, start + SENTENCE_CHARS)
        cut = space if space > 0 else start + SENTENCE_CHARS
        _append_trimmed(found, text, start, cut, quotes)
        start = cut
    _append_trimmed(found, text, start, end, quotes)


def _append_trimmed(found: list[Sentence], text: str, start: int, end: int, quotes: int) -> None:
    raw = text[start:end]
    trimmed = raw.strip()
    if trimmed:
        found.append(Sentence(trimmed, start + len(raw) - len(raw.lstrip()), quotes % 2 == 1))
