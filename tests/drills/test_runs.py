"""Too many messages, one bad episode, and one tenant with too much work."""

from __future__ import annotations

import json
import time

import psycopg
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from config.ids import uuid7
from tests.drills.ledger import Books, eventually, operator
from tests.drills.report import Report
from tests.fixtures.stack import RunningStack

STAGES = ("compile", "label", "embed", "publish")


def test_every_message_many_times(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    subjects, episodes = (6, 60) if form == "short" else (50, 100)
    stack.start("worker", name="second worker")
    broker = RedisBroker(url=stack.redis_url, namespace="statewave")  # type: ignore[no-untyped-call]
    books.send_all(subjects=subjects, episodes=episodes, per_batch=episodes)
    sent = 0

    def flood() -> bool:
        nonlocal sent
        with operator(stack) as conn:
            rows = conn.execute("select id from runs where tenant_id = %s", (books.tenant,)).fetchall()
        for (run_id,) in rows:
            for stage in STAGES:
                name = f"compile.{stage}"
                broker.enqueue(
                    Message(queue_name="compile", actor_name=name, args=(str(run_id),), kwargs={}, options={})
                )
                sent += 1
        found = books.counts()
        return found["compiled"] == books.acknowledged and found["unfinished"] == 0

    assert eventually(flood)
    broker.client.close()
    books.balance()
    report.note(episodes=books.acknowledged, duplicates_sent=sent, doubled=0)


def test_poison_episode_among_a_hundred(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    subjects = 1 if form == "short" else 10
    stack.processes["worker"].kill()
    books.send_all(subjects=subjects, episodes=100, per_batch=100)
    with operator(stack) as conn:
        whole = conn.execute(
            "select id, payload::text from episodes where tenant_id = %s and seq = 42", (books.tenant,)
        ).fetchall()
        for episode_id, _ in whole:
            conn.execute("update episodes set payload = '\"unreadable\"' where id = %s", (episode_id,))
    stack.restart("worker")
    books.balance(dead=subjects)
    with operator(stack) as conn:
        letters = conn.execute(
            "select (params ->> 'episode_id'), error from runs where tenant_id = %s and state = 'failed'",
            (books.tenant,),
        ).fetchall()
        assert {letter[0] for letter in letters} == {str(episode_id) for episode_id, _ in whole}
        # What was wrong is put right, and an operator says: again.
        for episode_id, payload in whole:
            assert json.loads(payload)["messages"]
            conn.execute("update episodes set payload = %s where id = %s", (payload, episode_id))
    retry_dead_letters(stack, books.tenant)
    assert eventually(lambda: books.counts()["dead"] == 0)
    books.balance()
    report.note(
        episodes=books.acknowledged,
        poisoned=subjects,
        published=books.acknowledged - subjects,
        after_retry=books.acknowledged,
    )


def retry_dead_letters(stack: RunningStack, tenant: str) -> None:
    from pipelines import operations
    from storage.run_operations import RunFilter
    from storage.transactions import open_pool

    pool = open_pool(stack.database_url, size=1)
    assert operations.retry_dead_letters(pool, RunFilter(tenant_id=tenant))
    pool.close()


def test_a_tenant_with_thousands_of_runs_does_not_delay_another(stack: RunningStack, form: str, report: Report) -> None:
    crowd, other = Books(stack), Books(stack)
    queued = 1500 if form == "short" else 10_000
    with operator(stack) as conn:
        seed(conn, crowd.tenant, queued)
    assert other.send("ada", 10)
    assert eventually(lambda: finished(stack, crowd.tenant) > 30)
    began = time.monotonic()
    already = finished(stack, crowd.tenant)
    run_id = other.request_compile("ada")
    with operator(stack) as conn:
        assert eventually(
            lambda: conn.execute("select 1 from runs where id = %s and started_at is not null", (run_id,)).fetchone()
        )
        row = conn.execute(
            "select extract(epoch from started_at - run_after)::float8,"
            "       (select count(*) from runs c where c.tenant_id = %s and c.finished_at < r.started_at)"
            "  from runs r where id = %s",
            (crowd.tenant, run_id),
        ).fetchone()
        assert row is not None
        seconds, before = row
    overtaken = before - already
    left = queued - before
    assert left > queued / 2, "the crowd still waits"
    assert overtaken < 200, f"{overtaken} runs of the other tenant came first"
    if form == "long":
        assert seconds < 2.0
    other.balance()
    with operator(stack) as conn:
        conn.execute("delete from runs where tenant_id = %s", (crowd.tenant,))
        conn.execute("delete from subjects where tenant_id = %s", (crowd.tenant,))
    report.note(queued_runs=queued, first_of_other_started_after=f"{seconds:.2f} s", runs_before_it=overtaken)
    assert time.monotonic() > began


def seed(conn: psycopg.Connection[object], tenant: str, count: int) -> None:
    """Due compile runs of as many subjects, as a backlog leaves them."""
    ids = [uuid7() for _ in range(count)]
    conn.execute(
        "insert into subjects (tenant_id, subject_id) select %s, 'c' || n from generate_series(1, %s) n",
        (tenant, count),
    )
    conn.execute(
        "insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, unique_key, run_after, params)"
        " select id, %s, 'c' || n, 'compile', 'compile', 'compile', 'pending', 'compile:c' || n, now(),"
        "        '{\"explicit\": true}'"
        "   from unnest(%s::uuid[]) with ordinality as u (id, n)",
        (tenant, ids),
    )


def finished(stack: RunningStack, tenant: str) -> int:
    with operator(stack) as conn:
        row = conn.execute(
            "select count(*) from runs where tenant_id = %s and state = 'completed'", (tenant,)
        ).fetchone()
    assert row is not None
    return int(row[0])
