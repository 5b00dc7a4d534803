"""Telling statements of the present from what is supposed, doubted, denied, past, asked or quoted."""

from __future__ import annotations

import re

from pipelines.compilation import words
from pipelines.heuristic.language import GuardRules
from pipelines.heuristic.sentences import Sentence


def is_undone(sentence: Sentence, start: int, end: int, guards: GuardRules) -> bool:
    """Whether what stands around `sentence.text[start:end]` makes it no statement about the present."""
    text = sentence.text
    if _is_quoted(sentence, start):
        return True
    if start:
        before = text[:start]
        if not guards.suppositions.isdisjoint(words(_since(guards.supposition_ends, before))):
            return True
        clause = _since(guards.clause_ends, before)
        said = words(clause)
        if not guards.before.isdisjoint(said) or guards.before_phrases.search(clause):
            return True
        if said and guards.subject.match(text[start:end]) and not _may_begin(said, guards):
            return True
    return guards.after.search(text[end:]) is not None


def _may_begin(said: list[str], guards: GuardRules) -> bool:
    return said[-1] in guards.before_subject or said[0] in guards.clause_openers


def is_shouted(text: str) -> bool:
    """Whether a text is in capitals, where a capital letter says nothing about names."""
    return len(text) > 3 and text.isupper()


def is_headline(text: str) -> bool:
    """Whether Most Words Begin Like This, so that a capital letter says nothing about names."""
    found = text.split()
    return len(found) > 4 and sum(word[0].isupper() for word in found) >= 0.7 * len(found)


def _since(ends: re.Pattern[str], before: str) -> str:
    last = 0
    for found in ends.finditer(before):
        last = found.end()
    return before[last:]


def _is_quoted(sentence: Sentence, start: int) -> bool:
    text = sentence.text
    if (text.count('"', 0, start) % 2 == 1) != sentence.in_quotes:
        return True
    return start > 0 and text[start - 1] == "'" and (start == 1 or text[start - 2].isspace())
