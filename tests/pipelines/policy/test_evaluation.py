"""Evaluation is what the contract's tables say, for any bundle, caller and memory."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given, settings

from pipelines.policy.evaluation import Caller, Judge
from pipelines.policy.judgement import repeats
from pipelines.policy.reader import read_bundle
from tests.pipelines.policy.bundles import IDS, LABELS, TYPES, callers, document, expected, label_sets, rules

Drawn = list[tuple[dict[str, Any], str]]


@given(rules, label_sets, callers)
@settings(max_examples=300)
def test_the_first_rule_that_matches_decides(
    drawn: Drawn, labels: list[str], caller: tuple[str | None, str | None]
) -> None:
    bundle = read_bundle(document(drawn)).bundle
    assert bundle is not None
    judge = Judge(bundle, Caller(id=caller[0], type=caller[1]))
    fired = judge.decide(labels)
    assert (None if fired is None else (fired.rule_id, fired.action)) == expected(drawn, labels, *caller)
    assert judge.decide(reversed(labels)) == fired
    if fired is not None:
        assert judge.concerns_caller
        assert set(fired.matched_labels) <= set(labels)


@given(rules)
@settings(max_examples=60)
def test_a_rule_that_is_called_unreachable_never_decides(drawn: Drawn) -> None:
    reading = read_bundle(document(drawn))
    unreachable = {warning.rule for warning in reading.warnings if warning.message.startswith("never reached")}
    sets = [
        [label for label, there in zip(LABELS, chosen, strict=True) if there] for chosen in product([0, 1], repeat=5)
    ]
    deciding = {
        found[0]
        for labels, id, type in product(sets, [None, *IDS], [None, *TYPES, "another"])
        if (found := expected(drawn, labels, id, type)) is not None
    }
    assert not unreachable & deciding


def test_what_repeats_a_text_is_recognised() -> None:
    assert repeats("Ada's card ends in 4111-1111", "The card 4111-1111 was charged yesterday at noon")
    assert repeats("Ada lives in Porto", "user: I live in Porto, near the river. It rains here in autumn.")
    assert not repeats("Ada is allergic to penicillin", "Ada works for Globex as an accountant")
