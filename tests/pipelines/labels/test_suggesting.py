"""The label stage: the same suggestions whoever compiles, and a compilation never fails for want of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines import compile_stages
from pipelines.compile import compile_now, request_compile
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.labels import suggesting
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction

TEXT = "My email address is ada@globex.example."

STAGES: dict[str, Callable[[Services, Run], Run | None]] = {
    compile_stages.COMPILE: compile_stages.draft,
    compile_stages.LABEL: compile_stages.label,
    compile_stages.EMBED: compile_stages.embed,
    compile_stages.PUBLISH: compile_stages.publish,
}


def in_the_request(services: Services) -> None:
    compile_now(services, "acme", "ada", request_id=None)


def by_a_worker(services: Services) -> None:
    run, _ = request_compile(services, "acme", "ada", request_id=None)
    for _ in STAGES:
        with operator_transaction(services.pool) as conn:
            claimed = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
        assert claimed is not None
        STAGES[claimed.stage](services, claimed)


def suggestions(services: Services) -> list[list[str]]:
    with operator_transaction(services.pool) as conn:
        return [labels for (labels,) in conn.execute("select suggested_labels from memories order by id").fetchall()]


@pytest.fixture
def told(services: Services) -> Services:
    """One episode with a mail address, and suggestions turned on."""
    episode = NewEpisode(subject_id="ada", session_id=None, source="chat", type="message", payload={"text": TEXT})
    append_episodes(services, "acme", [episode], request_id=None)
    return replace(services, settings=replace(services.settings, auto_labeling_enabled=True))


@pytest.mark.parametrize("compile_it", [in_the_request, by_a_worker])
def test_memories_get_suggestions_whoever_compiles(told: Services, compile_it: Callable[[Services], None]) -> None:
    compile_it(told)
    assert suggestions(told) and all(labels == ["pii.email"] for labels in suggestions(told))


def test_nothing_is_suggested_unless_it_is_turned_on(told: Services) -> None:
    in_the_request(replace(told, settings=replace(told.settings, auto_labeling_enabled=False)))
    assert suggestions(told) and not any(suggestions(told))


def test_a_detector_that_fails_costs_its_suggestions_and_nothing_else(
    told: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str) -> list[str]:
        raise RuntimeError(text)

    monkeypatch.setattr(suggesting, "suggest_labels", fail)
    in_the_request(told)
    assert suggestions(told) and not any(suggestions(told))
