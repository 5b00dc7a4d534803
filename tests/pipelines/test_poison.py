"""One bad episode costs itself: the others are published, it is seen, and nobody waits for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pipelines import attempts, compile_stages, drafting, poison
from pipelines.compile import compile_now, request_compile
from pipelines.failures import PermanentFailure
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from storage import run_operations, runs
from storage.rows import Run
from storage.run_operations import RunFilter
from storage.transactions import operator_transaction

STAGES = {
    compile_stages.COMPILE: compile_stages.draft,
    compile_stages.LABEL: compile_stages.label,
    compile_stages.EMBED: compile_stages.embed,
    compile_stages.PUBLISH: compile_stages.publish,
}
BAD = 37


@pytest.fixture
def hundred(services: Services) -> Services:
    """A hundred episodes of one subject."""
    append_episodes(services, "acme", [note(number) for number in range(100)], request_id="r1")
    return services


def note(number: int) -> NewEpisode:
    return NewEpisode(
        subject_id="ada",
        source="chat",
        type="message",
        payload={"messages": [{"role": "user", "content": f"My colleague number {number} lives in Lyon."}]},
    )


def damage(services: Services, text: str = "[]") -> str:
    """Make one of the episodes unreadable; its former payload."""
    with operator_transaction(services.pool) as conn:
        row = conn.execute("select payload::text from episodes where seq = %s", (BAD,)).fetchone()
        conn.execute("update episodes set payload = %s where seq = %s", (text, BAD))
    assert row is not None
    return str(row[0])


def work(services: Services, *, dies_at: int | None = None, raises: Exception | None = None) -> None:
    """Do everything that is due, as a worker does. It dies, or fails, when episode `dies_at` reaches it."""
    while True:
        with operator_transaction(services.pool) as conn:
            row = conn.execute(
                "select id from runs where state in ('pending', 'running') and run_after <= now() + interval '1 hour'"
                " and (lease_until is null or lease_until < now()) order by created_at, id limit 1"
            ).fetchone()
            conn.execute("update runs set run_after = now() where state = 'pending'")
        if row is None:
            return
        with operator_transaction(services.pool) as conn:
            run = runs.claim(conn, row[0], stage=None, lease=timedelta(seconds=-1))
        assert run is not None
        try:
            if attempts.before_work(services, run) is not run:
                continue
            if run.stage == compile_stages.COMPILE and dies_at in waiting_for(services, run):
                if raises is None:
                    continue  # As after SIGKILL: nothing is written, and the lease runs out.
                raise raises
            (STAGES[run.stage] if run.kind == "compile" else compile_stages.compile_one)(services, run)
        except Exception as ex:
            attempts.give_back(services, run, ex)


def waiting_for(services: Services, run: Run) -> list[int]:
    limit = 1 if poison.is_isolating(run) else services.settings.compile_batch_size
    with operator_transaction(services.pool) as conn:
        waiting = drafting.load_waiting(conn, run.tenant_id, "ada", limit=limit)
    return [episode.seq for episode in waiting.episodes]


def compiled(services: Services) -> tuple[int, int]:
    """How many episodes are compiled, and how many of them are the source of a memory."""
    with operator_transaction(services.pool) as conn:
        row = conn.execute(
            "select compiled_count, (select count(distinct e) from memories, unnest(source_episode_ids) as e)"
            "  from subjects"
        ).fetchone()
    assert row is not None
    return row


def dead_letters(services: Services) -> list[Run]:
    with operator_transaction(services.pool) as conn:
        return run_operations.list_runs(conn, RunFilter(states=("failed",)), before=None, limit=10)


@pytest.mark.parametrize("way", ["worker", "in place"])
def test_of_a_hundred_episodes_with_one_bad_ninety_nine_are_published(hundred: Services, way: str) -> None:
    damage(hundred)
    if way == "worker":
        request_compile(hundred, "acme", "ada", request_id=None)
        work(hundred)
    else:
        compile_now(hundred, "acme", "ada", request_id=None)
    assert compiled(hundred) == (100, 99)
    (letter,) = dead_letters(hundred)
    assert (letter.kind, letter.subject_id, letter.params["seq"]) == ("compile_episode", "ada", BAD)
    assert letter.error is not None and "ValidationError" in letter.error


def test_a_bad_episode_does_not_hold_up_the_next_ones(hundred: Services) -> None:
    damage(hundred)
    compile_now(hundred, "acme", "ada", request_id=None)
    append_episodes(hundred, "acme", [note(1000)], request_id=None)
    compile_now(hundred, "acme", "ada", request_id=None)
    assert compiled(hundred) == (101, 100)


def test_a_dead_letter_is_compiled_once_its_cause_is_gone_and_not_before(hundred: Services) -> None:
    payload = damage(hundred)
    compile_now(hundred, "acme", "ada", request_id=None)
    retry_all(hundred)
    work(hundred)
    assert compiled(hundred) == (100, 99) and len(dead_letters(hundred)) == 1
    damage(hundred, payload)
    retry_all(hundred)
    work(hundred)
    assert compiled(hundred) == (100, 100) and dead_letters(hundred) == []
    retry_all(hundred)
    work(hundred)
    assert compiled(hundred) == (100, 100)


def retry_all(services: Services) -> None:
    with operator_transaction(services.pool) as conn:
        run_operations.retry(conn, RunFilter(states=("failed",)), run_id=None, most=10)


def test_an_episode_that_kills_its_worker_is_quarantined_after_three_deaths(hundred: Services) -> None:
    request_compile(hundred, "acme", "ada", request_id=None)
    work(hundred, dies_at=BAD)
    assert compiled(hundred) == (100, 99)
    (letter,) = dead_letters(hundred)
    assert letter.quarantined and letter.params["seq"] == BAD
    with operator_transaction(hundred.pool) as conn:
        assert run_operations.quarantined_lanes(conn) == [("compile", "compile_episode", 1)]
        deaths = conn.execute(
            "select count(*) from runs, jsonb_array_elements(errors) e where e ->> 'error' = 'the worker died'"
        ).fetchone()
    assert deaths == (1,), "the first death takes the batch apart, the next two are of one episode"


def test_an_episode_that_fails_in_a_later_stage_is_found_and_set_aside(hundred: Services) -> None:
    request_compile(hundred, "acme", "ada", request_id=None)
    work(hundred, dies_at=BAD, raises=ValueError("no such tokenizer"))
    assert compiled(hundred) == (100, 99)
    (letter,) = dead_letters(hundred)
    assert not letter.quarantined and letter.error == "ValueError: no such tokenizer"


def test_a_database_that_was_away_is_no_reason_to_take_a_batch_apart(hundred: Services) -> None:
    run, _ = request_compile(hundred, "acme", "ada", request_id=None)
    with operator_transaction(hundred.pool) as conn:
        claimed = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
    assert claimed is not None
    attempts.give_back(hundred, claimed, psycopg.OperationalError("the connection is lost"))
    found = detail(hundred, run.id)
    assert found.state == "pending" and not poison.is_isolating(found)


def test_a_kind_without_parts_is_quarantined_whole(services: Services) -> None:
    run, _ = request_compile(services, "acme", "ada", request_id=None)
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set kind = 'other', crashes = 3")
        claimed = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
    assert claimed is not None
    assert attempts.before_work(services, claimed) is not claimed
    found = detail(services, run.id)
    assert (found.state, found.quarantined) == ("failed", True)


def test_a_permanent_failure_is_not_tried_again(services: Services) -> None:
    run, _ = request_compile(services, "acme", "ada", request_id=None)
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set kind = 'other'")
        claimed = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
    assert claimed is not None
    attempts.give_back(services, claimed, PermanentFailure("there is no such model"))
    assert detail(services, run.id).state == "failed"


@pytest.fixture
def failing(services: Services) -> Services:
    """Services whose embedder does not work."""

    class Broken:
        model, dimensions, is_remote, is_instant, reads_sentences = "broken", 4, False, True, True

        def embed(self, texts: Any) -> Any:
            raise RuntimeError("no such model")

    return replace(services, embedder=Broken())


def test_a_compile_that_fails_in_place_is_given_to_the_workers_at_once(failing: Services, services: Services) -> None:
    append_episodes(failing, "acme", [note(1), note(2)], request_id=None)
    with pytest.raises(RuntimeError):
        compile_now(failing, "acme", "ada", request_id=None)
    with operator_transaction(services.pool) as conn:
        assert conn.execute("select lease_until, woken_at from runs").fetchall() == [(None, None)]
    work(services)
    assert compiled(services) == (2, 2)


def detail(services: Services, run_id: UUID) -> run_operations.RunDetail:
    with operator_transaction(services.pool) as conn:
        found = run_operations.find_detail(conn, run_id)
    assert found is not None
    return found
