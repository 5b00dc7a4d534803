"""Reading JSON from models, which do not always write JSON: prose and fences around it, trailing commas, comments,
words of Python, quotes of typographers, an end that is missing.

The strict reading comes first, and each repair only when it fails, so a correct answer is never changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

#: Names under which models put the list that was asked for, the right one first (contract: §8.3).
LISTS = ("memories", "items", "results")

#: Longest answer that is read; repairs look at each character.
MOST_CHARS = 400_000

#: Places in the text at which JSON may begin that are tried.
_MOST_STARTS = 20

_FENCED = re.compile(r"```[a-zA-Z0-9]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL)
_STRING_OR = r'"(?:[^"\\\n]|\\.)*"|'
_COMMENTS = re.compile(_STRING_OR + r"(?P<gone>//[^\n]*|/\*.*?\*/)", re.DOTALL)
_COMMAS = re.compile(_STRING_OR + r"(?P<gone>,)(?=\s*[}\]])")
_WORDS = re.compile(_STRING_OR + r"(?P<word>\b(?:True|False|None|NaN|-?Infinity|undefined)\b)")
_MEANINGS = {"True": "true", "False": "false"}
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‟": '"', "″": '"'})


class Unusable(ValueError):
    """The answer is not what was asked for, also with good will. The text never quotes it."""


def entries(text: str, lists: tuple[str, ...] = LISTS) -> list[dict[str, Any]]:
    """The objects of the list that was asked for.

    Args:
        lists: names that the list may have. A bare list, and a single object in place of a list, are read as well.

    Raises:
        Unusable: when there is no such thing in the text.
    """
    for value in _values(text[:MOST_CHARS].replace("\0", "")):
        found = _list_in(value, lists)
        if found is not None:
            return [item for item in found if isinstance(item, dict)]
    raise Unusable("no list in the answer")


def salvaged(text: str, lists: tuple[str, ...] = LISTS) -> list[dict[str, Any]]:
    """The objects that are whole in a list that was cut off."""
    clean = _repaired(text[:MOST_CHARS].replace("\0", ""))
    begin = clean.find("[")
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    place = begin + 1
    while begin >= 0:
        start = clean.find("{", place)
        if start < 0:
            break
        try:
            value, place = decoder.raw_decode(clean, start)
        except ValueError:
            break
        found.append(value)
    return found


def _list_in(value: Any, lists: tuple[str, ...]) -> list[Any] | None:
    if isinstance(value, list):
        return value if not value or any(isinstance(item, dict) for item in value) else None
    if not isinstance(value, dict):
        return None
    for name in lists:
        inner = value.get(name)
        if isinstance(inner, list):
            return inner
        if isinstance(inner, dict):
            return [inner]
    return [value] if "content" in value or "action" in value else None


def _values(text: str) -> Iterator[Any]:
    """Every value that the text may mean, the likeliest first."""
    bare = _THOUGHTS.sub("", text)
    fenced = [found[1] for found in _FENCED.finditer(bare)]
    readings: list[Callable[[str], str]] = [str, _repaired]
    for reading in readings:
        for candidate in (bare, *fenced):
            yield from _decoded(reading(candidate))


def _decoded(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
        return
    except (ValueError, RecursionError):
        pass
    decoder = json.JSONDecoder()
    place = 0
    for _ in range(_MOST_STARTS):
        starts = [start for start in (text.find("{", place), text.find("[", place)) if start >= 0]
        if not starts:
            return
        start = min(starts)
        try:
            value, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        yield value


def _repaired(text: str) -> str:
    if '"' not in text:
        text = text.translate(_QUOTES)
    text = _without(_COMMENTS, text)
    text = _WORDS.sub(lambda found: _MEANINGS.get(found["word"], "null") if found["word"] else found[0], text)
    text = _without(_COMMAS, text)
    # Control characters may not stand in JSON strings, and models write line ends into them.
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: _one_line(found[0]), text)


def _without(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: "" if found["gone"] else found[0], text)


def _one_line(string: str) -> str:
    return string.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
