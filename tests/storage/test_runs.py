"""A run is worked on by one at a time, in order, and its loser cannot write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.ids import uuid7
from storage import compile_requests, run_dispatch, run_operations, runs
from storage.rows import Run
from storage.transactions import Pool, operator_transaction, tenant_transaction

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)


def requested(pool: Pool, subject_id: str = "ada", tenant_id: str = "acme") -> Run:
    with tenant_transaction(pool, tenant_id) as conn:
        run, _ = compile_requests.request_compile(conn, tenant_id, subject_id, run_id=uuid7(), request_id="r1")
    return run


def claimed(pool: Pool, run_id: UUID, *, stage: str | None = None, lease: timedelta = LEASE) -> Run | None:
    with operator_transaction(pool) as conn:
        return runs.claim(conn, run_id, stage=stage, lease=lease)


def test_a_request_joins_the_run_that_has_not_begun(pool: Pool) -> None:
    first = requested(pool)
    with tenant_transaction(pool, "acme") as conn:
        second, joined = compile_requests.request_compile(conn, "acme", "ada", run_id=uuid7(), request_id="r2")
    assert joined
    assert second.id == first.id


def test_a_request_does_not_join_a_run_that_has_begun(pool: Pool) -> None:
    first = requested(pool)
    assert claimed(pool, first.id) is not None
    assert requested(pool).id != first.id


def test_of_many_claims_at_once_one_wins(pool: Pool) -> None:
    run = requested(pool)
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(claimed, [pool] * 8, [run.id] * 8))
    winners = [claim for claim in claims if claim is not None]
    assert len(winners) == 1


def test_runs_of_a_subject_go_one_after_the_other(pool: Pool) -> None:
    first = requested(pool)
    held = claimed(pool, first.id)
    assert held is not None
    second = requested(pool)
    assert claimed(pool, second.id) is None
    with operator_transaction(pool) as conn:
        assert runs.complete(conn, held, result={})
    assert claimed(pool, second.id) is not None


def test_runs_of_two_subjects_and_of_two_tenants_go_side_by_side(pool: Pool) -> None:
    assert claimed(pool, requested(pool, "ada").id) is not None
    assert claimed(pool, requested(pool, "bob").id) is not None
    assert claimed(pool, requested(pool, "ada", "globex").id) is not None


def test_a_run_is_claimed_only_at_the_stage_it_is_at(pool: Pool) -> None:
    run = requested(pool)
    assert claimed(pool, run.id, stage="publish") is None
    assert claimed(pool, run.id, stage="compile") is not None


def test_a_run_whose_lease_is_over_can_be_taken_and_its_former_holder_cannot_write(pool: Pool) -> None:
    stalled = claimed(pool, requested(pool).id, lease=OVER)
    assert stalled is not None
    successor = claimed(pool, stalled.id)
    assert successor is not None and successor.fence > stalled.fence
    with operator_transaction(pool) as conn:
        assert not runs.advance(conn, stalled, next_stage="label", output=b"late")
        assert not runs.complete(conn, stalled, result={})
        assert not runs.extend_lease(conn, stalled, lease=LEASE)
        assert not runs.hold(conn, stalled)
        assert not runs.fail(conn, stalled, error="late")
        assert not runs.retry_later(conn, stalled, delay=LEASE, error="late")
        assert runs.hold(conn, successor)


def test_a_held_run_cannot_be_taken(pool: Pool) -> None:
    run = requested(pool)
    assert claimed(pool, run.id) is not None
    assert claimed(pool, run.id) is None


def test_a_stage_output_is_kept_with_the_step_and_replaced_when_repeated(pool: Pool) -> None:
    first = claimed(pool, requested(pool).id)
    assert first is not None
    with operator_transaction(pool) as conn:
        assert runs.advance(conn, first, next_stage="label", output=b"one")
        assert runs.stage_output(conn, first, "compile") == b"one"
    second = claimed(pool, first.id, stage="label")
    assert second is not None
    with operator_transaction(pool) as conn:
        runs.complete(conn, second, result={"memories_created": 0})
        assert conn.execute("select count(*) from stage_outputs").fetchone() == (0,)


def kept_on(pool: Pool) -> Run | None:
    """A run whose holder has ended the first stage and wants to do the next."""
    run = claimed(pool, requested(pool).id)
    assert run is not None
    with operator_transaction(pool) as conn:
        return runs.advance(conn, msgspec.structs.replace(run, keep_for=LEASE), next_stage="label", output=b"one")


def test_the_holder_of_a_stage_may_keep_the_run_for_the_next(pool: Pool) -> None:
    run = kept_on(pool)
    assert run is not None and run.is_kept and run.stage == "label"
    assert claimed(pool, run.id) is None
    with operator_transaction(pool) as conn:
        assert runs.hold(conn, run)
        found = run_operations.find_detail(conn, run.id)
        assert found is not None
        assert (found.attempts, found.timings["label"]["claims"]) == (1, 1), "counted as a claim is"
        assert runs.release(conn, run)
        assert not runs.hold(conn, run)
    assert claimed(pool, run.id, stage="label") is not None


def test_nothing_is_kept_on_of_a_paused_queue(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        run_dispatch.pause(conn, "compile", reason="")
    waiting = requested(pool)
    with operator_transaction(pool) as conn:
        held = runs.claim(conn, waiting.id, stage=None, lease=LEASE, in_place=True)
        assert held is not None
        run = runs.advance(conn, msgspec.structs.replace(held, keep_for=LEASE), next_stage="label", output=b"one")
    assert run is not None and not run.is_kept
    with operator_transaction(pool) as conn:
        run_dispatch.resume(conn, "compile")
    assert claimed(pool, run.id, stage="label") is not None


def test_a_failed_attempt_waits_and_remembers_why(pool: Pool) -> None:
    run = claimed(pool, requested(pool).id)
    assert run is not None
    with operator_transaction(pool) as conn:
        assert runs.retry_later(conn, run, delay=timedelta(hours=1), error="provider is away")
    assert claimed(pool, run.id) is None
    with operator_transaction(pool) as conn:
        found = runs.find(conn, run.id)
        assert found is not None and found.state == "pending" and found.error == "provider is away"


def test_purging_spares_dead_letters(pool: Pool) -> None:
    done, dead = claimed(pool, requested(pool, "ada").id), claimed(pool, requested(pool, "bob").id)
    assert done is not None and dead is not None
    with operator_transaction(pool) as conn:
        runs.complete(conn, done, result={})
        runs.fail(conn, dead, error="broken")
    with operator_transaction(pool) as conn:
        assert run_operations.purge_finished(conn, before=utcnow() + timedelta(hours=1), limit=10) == 1
        assert runs.find(conn, dead.id) is not None
