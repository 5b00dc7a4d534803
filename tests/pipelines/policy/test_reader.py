"""Reading policies: every problem with its line, what is doubtful, and nothing that harms the reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.policy.document import MOST_CHARS, MOST_LEVELS
from pipelines.policy.reader import read_bundle

RULE = "{id: a, when: {caller_type: bot}, action: deny}"


def problems(text: str) -> list[tuple[int, str]]:
    reading = read_bundle(text)
    assert (reading.bundle is None) == bool(reading.problems)
    return [(problem.line, problem.message) for problem in reading.problems]


def with_rule(when: str) -> str:
    return f"version: 1\nrules:\n  - id: a\n    action: deny\n    when: {when}\n"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "empty"),
        ("- 1", 1, "mapping"),
        ("rules: []", 1, "version is missing"),
        ("version: '1'\nrules: []", 1, "version must be 1"),
        ("version: true\nrules: []", 1, "version must be 1"),
        ("version: 1", 1, "rules is missing"),
        ("version: 1\nrules: {}", 2, "must be a list"),
        ("version: 1\nmetadata: 3\nrules: []", 2, "metadata must be a mapping"),
        ("version: 1\nversion: 1\nrules: []", 2, "twice"),
        ("version: 1\nrules: [", 3, "not YAML"),
        ("version: 1\nrules: []\n---\nversion: 1", 3, "not YAML"),
        ("version: 1\nrules: []\nmetadata: {a: .nan}", 3, "no number"),
        ("version: 1\nrules: []\nmetadata: {a: !!python/object:os.system {}}", 3, "not allowed"),
        ("version: 1\nrules: []\nmetadata: !!binary aGk=", 3, "not allowed"),
        ("version: 1\nrules: []\nmetadata:\n  <<: {a: 1}", 4, "plain text"),
        (with_rule("{}"), 5, "at least one"),
        (with_rule("pii"), 5, "mapping"),
        (with_rule("{memory_has_any_label: []}"), 5, "1 to"),
        (with_rule("{memory_has_any_label: pii}"), 5, "list"),
        (with_rule("{memory_has_any_label: [1]}"), 5, "must be a string"),
        (with_rule("{memory_has_any_label: ['']}"), 5, "printable"),
        (with_rule("{caller_type: null}"), 5, "must be a string"),
        (with_rule("{caller_id: ' '}"), 5, "printable"),
        (with_rule("{caller_id_pattern: x}"), 5, "no predicate"),
        (f"version: 1\nrules:\n  - {RULE}\n  - {RULE}\n", 4, "taken by the rule in line 3"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, part: str) -> None:
    assert any(at == line and part in message for at, message in problems(text)), problems(text)


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]",
        "&x version: 1\nrules: []",
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 100_000,
        "? " * 100_000,
        "version: 1\nrules: []\nmetadata: [" + "1," * 60_000 + "1]",
        "x" * (MOST_CHARS + 1),
        "version: " + "9" * 100_000,
        "version: 1e99999999999999999999999999999999999999",
        "a: \ud800",
        "\x00",
    ],
    ids=lambda text: text[:12].encode("ascii", "replace").decode(),
)
def test_documents_that_would_harm_the_reader_are_refused(bomb: str) -> None:
    assert problems(bomb)


def test_metadata_may_be_nested_a_little() -> None:
    deep = "{a: " * (MOST_LEVELS - 1) + "1" + "}" * (MOST_LEVELS - 1)
    assert problems(f"version: 1\nrules: []\nmetadata: {deep}") == []


def test_json_is_read_too_with_the_same_hash() -> None:
    rules = [{"id": "é\U0001f600", "when": {"caller_type_in": ["a", "b"]}, "action": "redact"}]
    bundle = {"rules": rules, "version": 1, "metadata": {"since": "2026-01-01", "n": 1.5, "on": True}}
    yaml = (
        "# the same\nversion: 1\nmetadata: {n: 1.5, 'on': yes, since: 2026-01-01}\n"
        "rules:\n- {action: redact, id: é\U0001f600, when: {caller_type_in: [a, b]}}\n"
    )
    readings = [read_bundle(text) for text in (json.dumps(bundle), json.dumps(bundle, ensure_ascii=False), yaml)]
    assert [reading.problems for reading in readings] == [[], [], []]
    assert len({reading.bundle.bundle_hash for reading in readings if reading.bundle}) == 1


def test_what_is_doubtful_does_not_stop_a_policy() -> None:
    reading = read_bundle(
        "version: 1\nowner: me\nrules:\n"
        "  - {id: a, when: {memory_has_any_label: [' PII ']}, action: deny}\n"
        "  - {id: b, when: {memory_has_all_labels: [pii, x]}, action: deny}\n"
        "  - {id: c, when: {caller_type: x, caller_type_not_in: [x]}, action: deny}\n"
    )
    assert reading.bundle is not None
    assert reading.bundle.rules[0].any_labels == {"pii"}
    assert reading.bundle.rules[0].when == {"memory_has_any_label": [" PII "]}, "what is hashed is what was uploaded"
    assert [(w.line, w.rule) for w in reading.warnings] == [(2, None), (4, "a"), (5, "b"), (6, "c")]


@given(st.text(max_size=300) | st.text(alphabet="{}[]:,-?&*!|>'\"%@`# \n\tab1", max_size=200))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    assert problems(text) or read_bundle(text).bundle is not None
