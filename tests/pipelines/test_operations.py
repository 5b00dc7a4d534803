"""Operators see every run and can steer it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from config.errors import BadRequest, Conflict, NotFound
from config.ids import uuid7
from pipelines import operations
from pipelines.compile import request_compile
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.run_operations import RunFilter
from storage.transactions import Pool, operator_transaction

LEASE = timedelta(seconds=30)


def request(services: Services, subject_id: str = "ada", tenant_id: str = "acme") -> UUID:
    run, _ = request_compile(services, tenant_id, subject_id, request_id="r1")
    return run.id


def claim(pool: Pool, run_id: UUID) -> Run:
    with operator_transaction(pool) as conn:
        run = runs.claim(conn, run_id, stage=None, lease=LEASE)
    assert run is not None
    return run


def fail(services: Services, run_id: UUID, error: str = "ValueError: broken") -> None:
    run = claim(services.pool, run_id)
    with operator_transaction(services.pool) as conn:
        assert runs.fail(conn, run, error=error)


def test_queues_say_what_they_hold(services: Services) -> None:
    first, _, dead = request(services, "ada"), request(services, "bob"), request(services, "eve")
    claim(services.pool, first)
    fail(services, dead)
    figures = {row.queue: row for row in operations.list_queues(services.pool)}
    assert set(figures) == {"compile", "llm", "webhooks", "maintenance"}
    compile_queue = figures["compile"]
    assert (compile_queue.ready, compile_queue.running, compile_queue.dead) == (1, 1, 1)
    assert compile_queue.finished_last_minute == 1
    assert compile_queue.oldest_age_seconds is not None
    assert figures["llm"].oldest_age_seconds is None


def test_a_paused_queue_says_so_and_why(services: Services) -> None:
    operations.pause_queue(services.pool, "llm", reason="provider is down")
    (llm,) = [row for row in operations.list_queues(services.pool) if row.queue == "llm"]
    assert (llm.paused, llm.pause_reason) == (True, "provider is down")
    operations.resume_queue(services.pool, "llm")
    assert not any(row.paused for row in operations.list_queues(services.pool))
    with pytest.raises(NotFound):
        operations.pause_queue(services.pool, "lunch", reason="")


def test_pages_of_runs_follow_each_other_without_gap_or_repetition(services: Services) -> None:
    ids = [request(services, f"s{number}") for number in range(7)]
    seen: list[UUID] = []
    cursor = None
    while True:
        page, cursor = operations.list_runs(services.pool, RunFilter(), cursor=cursor, limit=3)
        seen += [run.id for run in page]
        if cursor is None:
            break
    assert seen == sorted(ids, reverse=True)


def test_runs_are_found_by_what_they_are(services: Services) -> None:
    dead = request(services, "ada")
    request(services, "bob", "globex")
    fail(services, dead)

    def found(which: RunFilter) -> set[str | None]:
        page, _ = operations.list_runs(services.pool, which, cursor=None, limit=10)
        return {run.subject_id for run in page}

    assert found(RunFilter(states=("failed",))) == {"ada"}
    assert found(RunFilter(states=("failed", "pending"))) == {"ada", "bob"}
    assert found(RunFilter(tenant_id="globex")) == {"bob"}
    assert found(RunFilter(subject_id="ada", queue="compile", kind="compile")) == {"ada"}
    assert found(RunFilter(quarantined=True)) == set()


def test_a_run_shows_its_stages_attempts_and_errors(services: Services) -> None:
    run_id = request(services)
    first = claim(services.pool, run_id)
    with operator_transaction(services.pool) as conn:
        runs.retry_later(conn, first, delay=timedelta(0), error="TimeoutError: too slow")
    second = claim(services.pool, run_id)
    with operator_transaction(services.pool) as conn:
        runs.advance(conn, second, next_stage="label", output=b"")
    third = claim(services.pool, run_id)
    assert third.stage == "label"
    shown = operations.show_run(services.pool, run_id)
    assert shown.timings["compile"]["claims"] == 2
    assert shown.timings["compile"].keys() >= {"wait", "run"}
    assert shown.timings["label"]["claims"] == 1
    assert [(entry["stage"], entry["attempt"], entry["error"]) for entry in shown.errors] == [
        ("compile", 1, "TimeoutError: too slow")
    ]
    with pytest.raises(NotFound):
        operations.show_run(services.pool, uuid7())


def test_the_history_of_errors_is_bounded(services: Services) -> None:
    run_id = request(services)
    for number in range(25):
        run = claim(services.pool, run_id)
        with operator_transaction(services.pool) as conn:
            runs.retry_later(conn, run, delay=timedelta(0), error=f"error {number}")
    errors = [entry["error"] for entry in operations.show_run(services.pool, run_id).errors]
    assert errors == [f"error {number}" for number in range(5, 25)]


def test_a_dead_letter_is_retried_with_a_fresh_budget_and_keeps_its_history(services: Services) -> None:
    run_id = request(services)
    fail(services, run_id)
    retried = operations.retry_run(services.pool, run_id)
    assert (retried.state, retried.attempts, retried.finished_at) == ("pending", 0, None)
    assert len(retried.errors) == 1
    with pytest.raises(Conflict):
        operations.retry_run(services.pool, run_id)
    assert claim(services.pool, run_id).attempts == 1


def test_dead_letters_are_retried_by_filter(services: Services) -> None:
    for number in range(4):
        fail(services, request(services, f"s{number}", "acme" if number % 2 else "globex"))
    assert operations.retry_dead_letters(services.pool, RunFilter(tenant_id="acme")) == 2
    assert operations.retry_dead_letters(services.pool, RunFilter(quarantined=True)) == 0
    assert operations.retry_dead_letters(services.pool, RunFilter()) == 2


def test_a_cancelled_run_cannot_be_committed_by_its_worker(services: Services) -> None:
    run_id = request(services)
    held = claim(services.pool, run_id)
    assert operations.cancel_run(services.pool, run_id).state == "cancelled"
    with operator_transaction(services.pool) as conn:
        assert not runs.complete(conn, held, result={})
    with pytest.raises(Conflict):
        operations.cancel_run(services.pool, run_id)
    assert operations.retry_run(services.pool, run_id).state == "pending"


def test_a_cancelled_run_that_is_retried_begins_with_its_first_stage(services: Services) -> None:
    run_id = request(services)
    held = claim(services.pool, run_id)
    with operator_transaction(services.pool) as conn:
        runs.advance(conn, held, next_stage="label", output=b"drafts")
    operations.cancel_run(services.pool, run_id)
    operations.retry_run(services.pool, run_id)
    assert claim(services.pool, run_id).stage == "compile", "what it had made before is gone"


def test_only_finished_runs_can_be_deleted_and_only_by_a_filter(services: Services) -> None:
    fail(services, request(services, "ada"))
    waiting = request(services, "bob")
    with pytest.raises(BadRequest):
        operations.purge_finished(services.pool, RunFilter(kind="compile"))
    assert operations.purge_finished(services.pool, RunFilter(kind="compile", tenant_id="acme")) == 1
    with pytest.raises(Conflict):
        operations.delete_run(services.pool, waiting, kind="compile")
    with pytest.raises(NotFound):
        operations.delete_run(services.pool, uuid7(), kind="compile")


def test_a_stuck_run_is_taken_from_its_worker(services: Services) -> None:
    held = claim(services.pool, request(services))
    assert operations.reset_stuck(services.pool, older_than_minutes=30) == []
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set claimed_at = now() - interval '1 hour'")
    assert operations.reset_stuck(services.pool, older_than_minutes=30) == [held.id]
    assert claim(services.pool, held.id).fence > held.fence
