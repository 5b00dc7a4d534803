"""Whatever is under way when a subject is erased brings nothing of it back; killed erasures leave all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines import erasure_proof, webhook_delivery
from pipelines.compile import request_compile
from pipelines.erasure import erase_subject
from pipelines.services import Services
from pipelines.support import health_webhooks
from storage import runs, subjects
from storage.rows import Run
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.databases import everything_as_text
from tests.fixtures.faults import Killed, Killer
from tests.pipelines.test_compile_stages import STAGES, begun, step
from tests.pipelines.test_erasure import entries, prove, say, tell_all

WORDS = ("zeppelin", "Moreau", "Marseille", '"ada"')


@pytest.fixture
def manual(services: Services) -> Services:
    """Nothing is compiled by itself, and there is a receiver of events, to which nothing is sent."""
    settings = replace(
        services.settings, auto_compile_after_seconds=None, webhook_url="https://hooks.example.com/", redis_url=None
    )
    return replace(services, settings=settings)


def held(services: Services, kind: str) -> Run:
    """A run of this kind, claimed by a worker."""
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set run_after = now() where kind = %s", (kind,))
        row = conn.execute("select id from runs where kind = %s and state = 'pending' order by id", (kind,)).fetchone()
        assert row is not None
        run = runs.claim(conn, row[0], stage=None, lease=timedelta(seconds=30))
    assert run is not None
    return run


def assert_nothing_came_back(services: Services) -> None:
    proof = prove(services)
    assert proof["left"] == 0 and proof["removed"] == {}
    with operator_transaction(services.pool) as conn:
        conn.execute("delete from runs where kind = 'webhook'")  # The message that tells of the erasure.
    dump = everything_as_text(services.pool)
    assert not [word for word in WORDS if word in dump]


@pytest.mark.parametrize("stages_done", range(4))
def test_a_compilation_between_two_stages_ends_with_its_subject(manual: Services, stages_done: int) -> None:
    tell_all(manual)
    run_id = begun(manual)
    for _ in range(stages_done):
        assert step(manual, run_id) is not None
    with operator_transaction(manual.pool) as conn:
        run = runs.claim(conn, run_id, stage=None, lease=timedelta(seconds=30))
    assert run is not None
    erase_subject(manual, "acme", "ada")
    # The worker goes on with what it has read.
    assert STAGES[run.stage](manual, run) is None
    assert_nothing_came_back(manual)


def test_a_worker_of_the_erased_subject_does_not_write_into_the_one_that_begins_anew(manual: Services) -> None:
    tell_all(manual)
    run_id = begun(manual)
    for _ in range(3):
        step(manual, run_id)
    with operator_transaction(manual.pool) as conn:
        run = runs.claim(conn, run_id, stage=None, lease=timedelta(seconds=30))
    assert run is not None and run.stage == "publish"
    erase_subject(manual, "acme", "ada")
    say(manual, "I begin anew.")
    request_compile(manual, "acme", "ada", request_id=None)
    assert STAGES["publish"](manual, run) is None
    proof = prove(manual)
    assert proof["lives_again"] and proof["left"] == 0 and proof["removed"] == {}
    with operator_transaction(manual.pool) as conn:
        assert conn.execute("select memory_count, passage_count from subjects").fetchone() == (0, 0)


def test_a_webhook_that_waits_or_is_being_sent_goes_with_its_subject(
    manual: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_all(manual)
    run = held(manual, "webhook")

    def erased_meanwhile(*args: object, **kwargs: object) -> webhook_delivery.Attempt:
        erase_subject(manual, "acme", "ada")
        return webhook_delivery.Attempt(webhook_delivery.Verdict.RETRY, 503, "HTTP 503: zeppelin", timedelta(0), 1)

    monkeypatch.setattr(webhook_delivery, "send", erased_meanwhile)
    assert webhook_delivery.deliver(manual, run) is None
    assert_nothing_came_back(manual)


def test_a_health_check_that_is_under_way_leaves_nothing(manual: Services) -> None:
    tell_all(manual)
    run = held(manual, "health")
    erase_subject(manual, "acme", "ada")
    assert health_webhooks.evaluate(manual, run) is None
    assert_nothing_came_back(manual)


def test_appends_that_race_with_erasures_are_there_wholly_or_not_at_all(manual: Services) -> None:
    tell_all(manual)
    with ThreadPoolExecutor(4) as threads:
        appends = [threads.submit(say, manual, f"Number {n} of the bassoon.") for n in range(12)]
        erasures = [threads.submit(erase_subject, manual, "acme", "ada") for _ in range(3)]
        for waiting in (*appends, *erasures):
            waiting.result()
    with operator_transaction(manual.pool) as conn:
        subject = conn.execute("select episode_count from subjects").fetchone()
        stored = conn.execute("select count(*) from episodes").fetchone()
        assert stored == (subject or (0,))
        orders = conn.execute("select count(*) from runs where kind = 'erasure_proof'").fetchone()
    assert orders is not None and orders[0] == len(entries(manual)) >= 1
    for _ in range(orders[0]):
        run = held(manual, "erasure_proof")
        assert erasure_proof.prove(manual, run) is not None
    assert {entry.state for entry in entries(manual)} == {"proved"}


def test_an_append_to_a_subject_that_is_erased_before_it_exists_waits(manual: Services) -> None:
    with ThreadPoolExecutor(1) as threads, tenant_transaction(manual.pool, "acme") as conn:
        # An erasure that found nothing and has not committed yet.
        assert not any(subjects.erase(conn, "acme", "ada").counts.values())
        append = threads.submit(say, manual, "I begin with a bassoon.")
        while not _waits_for_a_lock(manual):
            assert not append.done(), "the append went past an erasure that could still delete half of it"
        conn.rollback()
        append.result()
    with operator_transaction(manual.pool) as conn:
        assert conn.execute("select episode_count from subjects").fetchone() == (1,)


def _waits_for_a_lock(services: Services) -> bool:
    with operator_transaction(services.pool) as conn:
        waiting = conn.execute(
            "select 1 from pg_locks join pg_stat_activity using (pid)"
            " where not granted and datname = current_database()"
        )
        return waiting.fetchone() is not None


def test_an_erasure_that_is_killed_anywhere_left_everything_or_nothing(manual: Services, dying_at: Killer) -> None:
    tell_all(manual)
    with operator_transaction(manual.pool) as conn:
        before = conn.execute("select count(*) from episodes").fetchone()
    for fatal in range(1, 100):
        try:
            with dying_at(fatal):
                erase_subject(manual, "acme", "ada")
            break
        except Killed:
            with operator_transaction(manual.pool) as conn:
                assert conn.execute("select count(*) from episodes").fetchone() == before
                assert conn.execute("select count(*) from erasures").fetchone() == (0,)
    else:
        raise AssertionError("never got through")
    assert_nothing_came_back(manual)
