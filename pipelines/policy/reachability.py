"""Rules that can never decide anything, because an earlier one always does or because they contradict themselves."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.policy.bundle import Rule

#: Types of callers that a rule admits: these, or (False) all but these, anonymous callers included.
_Types = tuple[bool, frozenset[str]]

#: Pairs of rules that are compared; beyond, later rules are not looked at.
_MOST_PAIRS = 200_000


def never_reached(rules: Sequence[Rule]) -> list[tuple[Rule, str]]:
    """The rules that decide nothing, with the reason. What is not listed may still be unreachable: only single earlier
    rules are looked at, not several together."""
    found = []
    pairs = 0
    for place, rule in enumerate(rules):
        if not _admits_anybody(rule):
            found.append((rule, "no caller has a type that it asks for"))
            continue
        pairs += place
        if pairs > _MOST_PAIRS:
            break
        earlier = next((other for other in rules[:place] if _covers(other, rule)), None)
        if earlier is not None:
            found.append((rule, f"rule {earlier.id!r} matches whatever it would match"))
    return found


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether every memory and caller that `narrow` matches is matched by `wide` too."""
    return (
        _has_any(wide, narrow)
        and _has_all(wide, narrow)
        and _admits_types(_types(wide), _types(narrow))
        and wide.caller_id in (None, narrow.caller_id)
    )


def _has_any(wide: Rule, narrow: Rule) -> bool:
    wanted = wide.any_labels
    if wanted is None:
        return True
    if narrow.all_labels is not None and narrow.all_labels & wanted:
        return True
    return narrow.any_labels is not None and narrow.any_labels <= wanted


def _has_all(wide: Rule, narrow: Rule) -> bool:
    certain = narrow.all_labels or frozenset()
    if narrow.any_labels is not None and len(narrow.any_labels) == 1:
        certain |= narrow.any_labels
    return wide.all_labels is None or wide.all_labels <= certain


def _types(rule: Rule) -> _Types:
    refused = rule.caller_type_not_in or frozenset()
    admitted = [types for types in (_only(rule.caller_type), rule.caller_type_in) if types is not None]
    if not admitted:
        return (False, refused)
    return (True, frozenset.intersection(*admitted) - refused)


def _only(caller_type: str | None) -> frozenset[str] | None:
    return None if caller_type is None else frozenset({caller_type})


def _admits_anybody(rule: Rule) -> bool:
    only, types = _types(rule)
    return not only or bool(types)


def _admits_types(wide: _Types, narrow: _Types) -> bool:
    (wide_only, wide_types), (narrow_only, narrow_types) = wide, narrow
    if narrow_only:
        return narrow_types <= wide_types if wide_only else not narrow_types & wide_types
    return not wide_only and wide_types <= narrow_types
