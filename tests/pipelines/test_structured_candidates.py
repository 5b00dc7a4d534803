"""Memories that the client wrote itself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from pipelines.compilation import Utterance
from pipelines.heuristic import compile_episode
from pipelines.structured_candidates import draft_candidates, explain_candidates, has_candidates
from tests.pipelines.drafts import START, day, episode

CLAIM = {
    "schema_version": 1,
    "key": "employment.current_employer",
    "value": "Globex",
    "valid_from": "2026-01-03T00:00:00Z",
}


def payload(*candidates: object) -> dict[str, Any]:
    return {"text": "My name is Ada.", "statewave": {"memory_candidates": list(candidates)}}


def test_a_candidate_becomes_a_memory() -> None:
    given = payload({"kind": "profile_fact", "text": " Works at Globex ", "metadata": {"ui": "form"}, "claim": CLAIM})
    (made,) = draft_candidates(episode(given), anchor=START) or []
    assert (made.kind, made.content, made.summary, made.confidence) == (
        "profile_fact",
        "Works at Globex",
        "Works at Globex",
        0.9,
    )
    assert (made.claim_key, made.claim_value) == ("employment.current_employer", "Globex")
    assert made.valid_from == day(2)
    assert made.source_episode_ids == [UUID(int=1)]
    assert made.metadata["ui"] == "form"
    assert made.metadata["claim"]["value"] == "Globex"


def test_without_a_time_of_its_own_a_candidate_is_valid_from_the_episodes_time() -> None:
    (made,) = draft_candidates(episode(payload({"kind": "fact", "text": "x"})), anchor=day(5)) or []
    assert made.valid_from == day(5)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("fact", "profile_fact"),
        ("domain_fact", "profile_fact"),
        ("profile_fact", "profile_fact"),
        ("episode_summary", "episode_summary"),
        ("procedure", "procedure"),
    ],
)
def test_kinds_have_aliases(kind: str, stored: str) -> None:
    (made,) = draft_candidates(episode(payload({"kind": kind, "text": "x"})), anchor=START) or []
    assert made.kind == stored


GOOD = {"kind": "fact", "text": "Works at Globex", "confidence": 0.5}


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("text", "object"),
        ({"kind": "decision", "text": "x"}, "kind"),
        ({"kind": ["fact"], "text": "x"}, "kind"),
        ({"kind": "fact"}, "text"),
        ({"kind": "fact", "text": " \0 "}, "text"),
        ({**GOOD, "metadata": ["a"]}, "metadata"),
        ({**GOOD, "confidence": 1.5}, "confidence"),
        ({**GOOD, "confidence": True}, "confidence"),
        ({**GOOD, "confidence": float("nan")}, "confidence"),
        ({**GOOD, "claim": "x"}, "claim"),
        ({**GOOD, "claim": {**CLAIM, "schema_version": 2}}, "schema_version"),
        ({**GOOD, "claim": {**CLAIM, "key": "Not A Key"}}, "key"),
        ({**GOOD, "claim": {**CLAIM, "value": " "}}, "value"),
        ({**GOOD, "claim": {**CLAIM, "value": None}}, "value"),
        ({**GOOD, "claim": {**CLAIM, "valid_from": "soon"}}, "valid_from"),
    ],
)
def test_one_bad_candidate_discards_the_set_and_says_why(bad: object, fault: str) -> None:
    given = payload(GOOD, bad)
    assert draft_candidates(episode(given), anchor=START) is None
    explained = explain_candidates(given)
    assert explained is not None
    assert "memory_candidates[1]" in explained
    assert fault in explained


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"statewave": None},
        {"statewave": {}},
        {"statewave": {"memory_candidates": []}},
        {"statewave": {"memory_candidates": "x"}},
    ],
)
def test_an_episode_may_have_no_candidates(given: dict[str, Any]) -> None:
    assert not has_candidates(given)
    assert draft_candidates(episode(given), anchor=START) is None
    assert explain_candidates(given) is None


def test_a_valid_set_replaces_what_the_compiler_would_find() -> None:
    drafts = compile_episode(episode(payload(GOOD)), [Utterance(None, "user", "My name is Ada.")])
    assert [made.content for made in drafts] == ["Works at Globex"]


def test_a_refused_set_leaves_the_episode_to_the_compiler() -> None:
    drafts = compile_episode(episode(payload(GOOD, "bad")), [Utterance(None, "user", "My name is Ada.")])
    assert [made.kind for made in drafts] == ["profile_fact", "episode_summary"]


def test_values_may_be_numbers_and_booleans() -> None:
    claims = [{"key": "account.seats", "value": 5}, {"key": "account.trial", "value": True}]
    made = draft_candidates(episode(payload(*({**GOOD, "claim": claim} for claim in claims))), anchor=START) or []
    assert [one.claim_value for one in made] == ["5", "true"]
