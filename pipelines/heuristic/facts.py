"""Finding what people say about themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.compilation import words
from pipelines.heuristic.guards import is_headline, is_shouted, is_undone
from pipelines.heuristic.language import FactRule, LanguageRules
from pipelines.heuristic.sentences import Sentence

#: Characters of a claim's value; what is longer is a story and no value.
MAX_VALUE_CHARS = 120

_EDGES_LEFT = " \t.,;:!?-–—\"'"
_EDGES_RIGHT = _EDGES_LEFT + "("


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement found in an utterance. `offset` is its place in the utterance's plain text."""

    text: str
    rule: FactRule
    claim_key: str | None
    claim_value: str | None
    offset: int


def may_hold_facts(lowered: str, rules: LanguageRules, *, among_people: bool) -> list[FactRule]:
    """Pick the rules of which a trigger occurs in the lower-case text."""
    return [rule for rule in rules.fact if _may_match(rule, lowered) and not (among_people and rule.to_agent)]


def find_facts(sentences: Sequence[Sentence], candidates: Sequence[FactRule], rules: LanguageRules) -> Iterator[Fact]:
    """Yield the facts of an utterance in the order of its sentences.

    Of overlapping matches the rule that the pattern file names first wins, so specific rules stand before general
    ones there.
    """
    for sentence in sentences:
        if is_shouted(sentence.text):
            continue
        lowered = sentence.text.lower()
        taken: list[tuple[int, int]] = []
        for rule in candidates:
            if _may_match(rule, lowered):
                yield from _match(sentence, rule, rules, taken)


def _may_match(rule: FactRule, lowered: str) -> bool:
    # PERF: a loop, since `any` over a generator takes three times as long and this runs for every rule and message.
    for trigger in rule.triggers:  # noqa: SIM110
        if trigger in lowered:
            return True
    return False


def _match(sentence: Sentence, rule: FactRule, rules: LanguageRules, taken: list[tuple[int, int]]) -> Iterator[Fact]:
    for found in rule.pattern.finditer(sentence.text):
        start, end = found.span("fact") if "fact" in rule.pattern.groupindex else found.span()
        if any(start < other_end and end > other_start for other_start, other_end in taken):
            continue
        group = _value_group(found)
        if group is None and _has_value(rule):
            continue
        if rule.cut:
            cut = rules.value_cut.search(sentence.text, found.start(group) if group else start, end)
            end = cut.start() if cut else end
        value = sentence.text[found.start(group) : min(end, found.end(group))] if group else ""
        value = _trimmed(value)
        if _is_refused(value, rule, rules, sentence) or is_undone(sentence, start, end, rules.guards):
            continue
        taken.append((start, end))
        key = _claim_key(rule, found, group, value, rules)
        text = " ".join(_trimmed(sentence.text[start:end]).split())
        yield Fact(text, rule, key, value if key else None, sentence.start + start)


def _trimmed(text: str) -> str:
    return text.lstrip(_EDGES_LEFT).rstrip(_EDGES_RIGHT)


def _has_value(rule: FactRule) -> bool:
    groups = rule.pattern.groupindex
    return "claim" in groups or "loose" in groups


def _value_group(found: re.Match[str]) -> str | None:
    groups = found.re.groupindex
    return next((name for name in ("claim", "loose", "value") if name in groups and found[name]), None)


def _is_refused(value: str, rule: FactRule, rules: LanguageRules, sentence: Sentence) -> bool:
    first = next(iter(words(value)), "")
    if first in rule.reject:
        return True
    return rule.is_name and (first in rules.not_names or is_headline(sentence.text))


def _claim_key(rule: FactRule, found: re.Match[str], group: str | None, value: str, rules: LanguageRules) -> str | None:
    if rule.claim is None or group not in ("claim", "loose") or not 0 < len(value) <= MAX_VALUE_CHARS:
        return None
    if group == "loose" and words(value)[0] in rules.not_names:
        return None
    parts = {name: "_".join(words(text)) for name, text in found.groupdict().items() if text and name != "claim"}
    return rule.claim.format_map(parts)
