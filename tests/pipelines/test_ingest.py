"""Appending: nothing twice under one key, nothing lost, all of a batch or none of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from storage import subjects
from storage.transactions import Pool, operator_transaction, statements_sent, tenant_transaction
from tests.fixtures.processes import eventually

_WAITING = (
    "select exists (select 1 from pg_locks join pg_stat_activity using (pid)"
    " where not granted and datname = current_database())"
)


def episode(text: str = "hello", *, key: str | None = None, subject_id: str = "ada") -> NewEpisode:
    return NewEpisode(subject_id=subject_id, source="chat", type="message", payload={"text": text}, idempotency_key=key)


def stored_texts(pool: Pool, tenant_id: str, subject_id: str = "ada") -> list[str]:
    with tenant_transaction(pool, tenant_id) as conn:
        rows = conn.execute("select body from episodes where subject_id = %s order by seq", (subject_id,)).fetchall()
    return [body for (body,) in rows]


def test_a_batch_keeps_its_order(services: Services) -> None:
    answers = append_episodes(services, "acme", [episode(str(i)) for i in range(50)], request_id=None)
    assert stored_texts(services.pool, "acme") == [str(i) for i in range(50)]
    with tenant_transaction(services.pool, "acme") as conn:
        by_seq = conn.execute("select id from episodes order by seq").fetchall()
    assert [e.id for e in answers] == [id for (id,) in by_seq]


def test_a_repeated_key_answers_with_the_stored_episode(services: Services) -> None:
    (first,) = append_episodes(services, "acme", [episode("one", key="k")], request_id=None)
    (again,) = append_episodes(services, "acme", [episode("two", key="k")], request_id=None)
    assert again.id == first.id
    assert bytes(again.payload) == b'{"text":"one"}'
    assert stored_texts(services.pool, "acme") == ["one"]


def test_a_key_repeated_within_one_batch_is_stored_once(services: Services) -> None:
    answers = append_episodes(
        services, "acme", [episode("one", key="k"), episode("two"), episode("three", key="k")], request_id=None
    )
    assert answers[0].id == answers[2].id != answers[1].id
    assert stored_texts(services.pool, "acme") == ["one", "two"]


def test_a_key_belongs_to_one_subject_of_one_tenant(services: Services) -> None:
    append_episodes(services, "acme", [episode(key="k"), episode(key="k", subject_id="bob")], request_id=None)
    append_episodes(services, "globex", [episode(key="k")], request_id=None)
    with operator_transaction(services.pool) as conn:
        assert conn.execute("select count(*) from episodes").fetchone() == (3,)


def test_a_key_holds_under_concurrency(services: Services) -> None:
    def send(_: int) -> list[str]:
        batch = [episode(f"{i}", key=f"k{i}") for i in range(5)]
        return [str(e.id) for e in append_episodes(services, "acme", batch, request_id=None)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(24)))
    assert len({tuple(ids) for ids in answers}) == 1
    assert stored_texts(services.pool, "acme") == ["0", "1", "2", "3", "4"]
    with tenant_transaction(services.pool, "acme") as conn:
        assert conn.execute("select episode_count from subjects").fetchone() == (5,)


def test_sequence_numbers_follow_commit_order_under_concurrency(services: Services) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(lambda i: append_episodes(services, "acme", [episode(str(i))] * 3, request_id=None), range(20))
        )
    with tenant_transaction(services.pool, "acme") as conn:
        assert conn.execute("select array_agg(seq order by seq) from episodes").fetchone() == (list(range(1, 61)),)
        progress = subjects.progress(conn, "acme", "ada")
    assert progress is not None and progress.uncompiled == 60


def test_batches_that_share_subjects_in_opposite_order_do_not_deadlock(services: Services) -> None:
    names = [f"s{i}" for i in range(10)]

    def send(reverse: bool) -> None:
        batch = [episode(subject_id=name) for name in (reversed(names) if reverse else names)]
        append_episodes(services, "acme", batch, request_id=None)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, [bool(i % 2) for i in range(40)]))
    with tenant_transaction(services.pool, "acme") as conn:
        assert conn.execute("select count(*) from episodes").fetchone() == (400,)


def test_a_batch_that_fails_leaves_nothing(services: Services) -> None:
    with pytest.raises(psycopg.DataError):
        append_episodes(services, "acme", [episode("fine"), episode("nul \x00")], request_id=None)
    with operator_transaction(services.pool) as conn:
        for table in ("episodes", "subjects", "runs"):
            assert conn.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_one_waiting_compile_is_scheduled_with_the_episodes(services: Services) -> None:
    for _ in range(3):
        append_episodes(services, "acme", [episode(), episode(subject_id="bob")], request_id="r")
    with operator_transaction(services.pool) as conn:
        rows = conn.execute("select subject_id, state, run_after > now() from runs order by 1").fetchall()
    assert rows == [("ada", "pending", True), ("bob", "pending", True)]


def test_nothing_is_scheduled_when_automatic_compilation_is_off(services: Services, settings: Settings) -> None:
    off = replace(services, settings=replace(settings, auto_compile_after_seconds=None))
    append_episodes(off, "acme", [episode()], request_id=None)
    with operator_transaction(services.pool) as conn:
        assert conn.execute("select count(*) from runs").fetchone() == (0,)


def test_repeating_a_batch_schedules_nothing_and_counts_nothing(services: Services) -> None:
    batch = [episode(str(i), key=str(i)) for i in range(3)]
    append_episodes(services, "acme", batch, request_id=None)
    with operator_transaction(services.pool) as conn:
        conn.execute("delete from runs")
    append_episodes(services, "acme", batch, request_id=None)
    with operator_transaction(services.pool) as conn:
        assert conn.execute("select count(*) from runs").fetchone() == (0,)
        assert conn.execute("select episode_count from subjects").fetchone() == (3,)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=5), min_size=1, max_size=5))
def test_any_sequence_of_batches_stores_each_key_once_and_every_keyless_episode(
    shared_pool: Pool, batches: list[list[str | None]]
) -> None:
    tenant = str(uuid4())
    services = Services(
        settings=Settings(auto_compile_after_seconds=None),
        pool=shared_pool,
        embedder=None,
        ping_broker=lambda: None,
    )
    first_of_key = {}
    for batch in batches:
        answers = append_episodes(services, tenant, [episode(key=key) for key in batch], request_id=None)
        assert len(answers) == len(batch)
        for key, answer in zip(batch, answers, strict=True):
            if key is not None:
                assert answer.id == first_of_key.setdefault(key, answer.id)
    keyless = sum(key is None for batch in batches for key in batch)
    with tenant_transaction(shared_pool, tenant) as conn:
        assert conn.execute("select count(*) from episodes").fetchone() == (keyless + len(first_of_key),)
        assert conn.execute("select episode_count from subjects").fetchone() == (keyless + len(first_of_key),)


def test_an_append_that_nobody_hears_of_is_one_round_trip(services: Services) -> None:
    append_episodes(services, "acme", [episode()], request_id=None)
    statements_sent.set(0)
    append_episodes(services, "acme", [episode(str(i)) for i in range(10)], request_id=None)
    assert statements_sent.get() == 1


def test_an_append_sees_a_resolution_that_was_recorded_while_it_waited_for_the_subject(services: Services) -> None:
    append_episodes(services, "acme", [episode()], request_id=None)
    with ThreadPoolExecutor(1) as threads:
        with tenant_transaction(services.pool, "acme") as conn:
            conn.execute("update subjects set resolution_version = resolution_version + 1")
            waiting = threads.submit(append_episodes, services, "acme", [episode("late")], request_id=None)
            with operator_transaction(services.pool) as watcher:
                assert eventually(lambda: watcher.execute(_WAITING).fetchone() == (True,))
        waiting.result()
    assert stored_texts(services.pool, "acme") == ["hello", "late"]
    with operator_transaction(services.pool) as conn:
        assert conn.execute("select count(*) from runs where kind = 'health'").fetchone() == (1,)


def test_connections_that_were_cut_while_idle_are_replaced_before_anything_is_sent(services: Services) -> None:
    append_episodes(services, "acme", [episode()], request_id=None)
    with psycopg.connect(services.settings.database_url or "", autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where application_name = 'statewave' and datname = current_database()"
        )
    append_episodes(services, "acme", [episode("after")], request_id=None)
    assert stored_texts(services.pool, "acme") == ["hello", "after"]


def test_names_reach_the_database_as_they_are(services: Services) -> None:
    for odd in ("o'brien", "back\\slash", 'double"quote', "new\nline", "{a,b}", "null", "日本", "-- ; drop"):
        (stored,) = append_episodes(services, f"tenant {odd}", [episode(odd, subject_id=odd)], request_id=odd)
        assert stored.subject_id == odd
        assert stored_texts(services.pool, f"tenant {odd}", odd) == [odd]
