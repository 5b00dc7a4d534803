"""Cutting long text into pieces that end where sentences end, so that a passage is about one thing."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Weight (about characters) up to which a message stays whole: 130 tokens of English.
WHOLE = 520

#: Weight that a piece of a longer message aims at: 80 tokens of English.
PIECE = 320

#: Weight of one sentence beyond which it is cut inside, at a clause or a space.
LONGEST = 640

#: A character of these scripts is a word or a syllable: it weighs as much as three Latin letters.
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff\U0001f000-\U0001faff]")
_DENSE_WEIGHT = 3

_BOUNDARY = re.compile(r"(?:[.!?…]+[\"'”’)\]*_]*(?=\s)|[。！？]+[」』”]?|\n)\s*")
_SOFT = re.compile(r"[,;:–—、，；]\s*|\s+")


def chunk(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Spans of `text[start:stop]` in order; all of them together hold everything but the white space at their edges."""
    start, stop = _trim(text, start, stop)
    if start == stop:
        return []
    if stop - start <= WHOLE and (text.isascii() or _weight(text, start, stop) <= WHOLE):
        return [(start, stop)]
    return list(_gather(text, list(_sentences(text, start, stop))))


def _gather(text: str, sentences: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join sentences until a piece is full; a short rest joins the piece before it."""
    spans: list[tuple[int, int]] = []
    begin, weight = sentences[0][0], 0
    end = begin
    for first, last in sentences:
        added = _weight(text, first, last)
        if weight and weight + added > PIECE:
            spans.append((begin, end))
            begin, weight = first, 0
        weight += added
        end = last
    spans.append((begin, end))
    if len(spans) > 1:
        (before, _), (rest, last) = spans[-2:]
        if _weight(text, rest, last) < PIECE // 4:
            spans[-2:] = [(before, last)]
    for first, last in spans:
        first, last = _trim(text, first, last)
        if first < last:
            yield first, last


def _sentences(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    for match in _BOUNDARY.finditer(text, start, stop):
        yield from _cut(text, start, match.end())
        start = match.end()
    if start < stop:
        yield from _cut(text, start, stop)


def _cut(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A sentence, or pieces of one that is too long."""
    while stop - start > LONGEST or _weight(text, start, stop) > LONGEST:
        reach = start + (LONGEST if text[start : start + LONGEST].isascii() else LONGEST // _DENSE_WEIGHT)
        cut = 0
        for match in _SOFT.finditer(text, start + (reach - start) // 2, reach):
            cut = match.end()
        cut = cut or reach
        yield start, cut
        start = cut
    if start < stop:
        yield start, stop


def _weight(text: str, start: int, stop: int) -> int:
    piece = text[start:stop]
    return len(piece) if piece.isascii() else len(piece) + (_DENSE_WEIGHT - 1) * len(_DENSE.findall(piece))


def _trim(text: str, start: int, stop: int) -> tuple[int, int]:
    piece = text[start:stop]
    kept = piece.lstrip()
    return (stop - len(kept), stop - len(kept) + len(kept.rstrip())) if kept else (start, start)
