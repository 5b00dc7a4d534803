"""Evaluating a policy: what becomes of a memory with these labels for this caller (contract: governance §4.2)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipelines.policy.bundle import Action, Bundle, Rule


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. Both None: an anonymous caller."""

    id: str | None = None
    type: str | None = None


ANONYMOUS = Caller()


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that decided. `matched_labels` are the labels of the memory that its conditions name, sorted."""

    rule_id: str
    action: Action
    matched_labels: tuple[str, ...]


class Judge:
    """One policy for one caller. What was decided for a set of labels is remembered: sets repeat."""

    def __init__(self, bundle: Bundle, caller: Caller) -> None:
        self.bundle = bundle
        #: Places in the bundle of the rules that concern the caller. Callers with the same places see the same.
        self.places = tuple(place for place, rule in enumerate(bundle.rules) if _admits(rule, caller))
        self._rules = [bundle.rules[place] for place in self.places]
        self._decided: dict[frozenset[str], Firing | None] = {}

    @property
    def concerns_caller(self) -> bool:
        """Whether there is a rule that could hide anything from the caller."""
        return bool(self._rules)

    def decide(self, labels: Iterable[str]) -> Firing | None:
        """The first rule that matches, None when the memory is allowed."""
        key = frozenset(labels)
        if key not in self._decided:
            self._decided[key] = next((_fired(rule, key) for rule in self._rules if _matches(rule, key)), None)
        return self._decided[key]


def _admits(rule: Rule, caller: Caller) -> bool:
    if rule.caller_id is not None and rule.caller_id != caller.id:
        return False
    if rule.caller_type is not None and rule.caller_type != caller.type:
        return False
    if rule.caller_type_in is not None and caller.type not in rule.caller_type_in:
        return False
    return rule.caller_type_not_in is None or caller.type not in rule.caller_type_not_in


def _matches(rule: Rule, labels: frozenset[str]) -> bool:
    if rule.any_labels is not None and not rule.any_labels & labels:
        return False
    return rule.all_labels is None or rule.all_labels <= labels


def _fired(rule: Rule, labels: frozenset[str]) -> Firing:
    named = (rule.any_labels or frozenset()) | (rule.all_labels or frozenset())
    return Firing(rule_id=rule.id, action=rule.action, matched_labels=tuple(sorted(named & labels)))
