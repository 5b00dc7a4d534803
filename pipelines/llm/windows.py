"""Cutting episodes into pieces that a model is shown at once, so that nothing of a long one is left out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pipelines.compilation import Role, Utterance

#: A cut is made at the end of a line, a sentence or a word, if one ends in the last part of a piece this long.
_SEARCH_SHARE = 4

#: No window is so small that it is not cut in two any more when the model fails on it.
LEAST_CHARS = 200


class Line(msgspec.Struct, frozen=True):
    """What one voice said, or a part of it. `turn` is its place among the episode's utterances."""

    turn: int
    role: Role
    speaker: str | None
    at: datetime | None
    text: str


class Window(msgspec.Struct, frozen=True):
    """Consecutive lines of one episode. `episode` is its place among those that are compiled together."""

    episode: int
    lines: tuple[Line, ...]

    @property
    def chars(self) -> int:
        """Characters of text."""
        return sum(len(line.text) for line in self.lines)


def windows_of(episode: int, utterances: Sequence[Utterance], *, chars: int, overlap: int) -> list[Window]:
    """Cut an episode into windows of at most `chars` characters; each begins with the last `overlap` of the former.

    Every character of every utterance is in at least one window. NULs are left out: no database keeps them.
    """
    windows: list[Window] = []
    lines: list[Line] = []
    room = chars
    for line in _pieces(utterances, chars - overlap):
        if len(line.text) > room and lines:
            windows.append(Window(episode, tuple(lines)))
            tail = lines[-1]
            lines = [msgspec.structs.replace(tail, text=tail.text[-overlap:])] if overlap else []
            room = chars - sum(len(kept.text) for kept in lines)
        lines.append(line)
        room -= len(line.text)
    if lines:
        windows.append(Window(episode, tuple(lines)))
    return windows


def windows_by_message(episode: int, utterances: Sequence[Utterance], *, messages: int, overlap: int) -> list[Window]:
    """Windows of so many messages each, the last `overlap` of one being the first of the next."""
    lines = list(_pieces(utterances, None))
    step = max(1, messages - overlap)
    starts = range(0, max(1, len(lines) - overlap), step)
    return [Window(episode, tuple(lines[start : start + messages])) for start in starts if lines]


def batches_of(windows: Sequence[Window], *, chars: int) -> list[list[Window]]:
    """Put windows together, in their order, as long as they have at most `chars` characters together."""
    batches: list[list[Window]] = []
    room = 0
    for window in windows:
        if not batches or window.chars > room:
            batches.append([])
            room = chars
        batches[-1].append(window)
        room -= window.chars
    return batches


def halves(batch: Sequence[Window]) -> tuple[list[Window], list[Window]] | None:
    """Two batches in place of one that was too much; None when it cannot be made smaller."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return list(batch[:middle]), list(batch[middle:])
    [window] = batch
    if window.chars < 2 * LEAST_CHARS:
        return None
    lines = window.lines
    if len(lines) > 1:
        middle = len(lines) // 2
        first, second = lines[:middle], lines[middle:]
    else:
        cut = _cut(lines[0].text, len(lines[0].text) // 2)
        first = (msgspec.structs.replace(lines[0], text=lines[0].text[:cut]),)
        second = (msgspec.structs.replace(lines[0], text=lines[0].text[cut:]),)
    return [Window(window.episode, first)], [Window(window.episode, second)]


def _pieces(utterances: Sequence[Utterance], most: int | None) -> list[Line]:
    lines = []
    for turn, said in enumerate(utterances):
        text = said.text.replace("\0", "")
        while text:
            end = len(text) if most is None or len(text) <= most else _cut(text, most)
            lines.append(Line(turn, said.role, said.speaker, said.at, text[:end]))
            text = text[end:]
    return [line for line in lines if line.text.strip()]


def _cut(text: str, most: int) -> int:
    """Where to cut so that at most `most` characters come first."""
    least = most - most // _SEARCH_SHARE
    for mark in ("\n", ". ", "! ", "? ", " "):
        place = text.rfind(mark, least, most)
        if place > 0:
            return place + len(mark)
    return most
