"""Processes of ours die, stall, or are told to go, in the middle of their work."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID

import pytest

from storage.children import last_lines
from tests.drills.ledger import Books, eventually, operator
from tests.drills.report import Report
from tests.fixtures.processes import processes_with
from tests.fixtures.stack import RunningStack


@pytest.mark.usefixtures("short_leases")
def test_worker_killed_at_random(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    kills, subjects = (2, 10) if form == "short" else (10, 10)
    chance = random.Random(form)
    held = 0
    for _ in range(kills):
        # Every round is work for seconds; the worker dies somewhere in the middle of it.
        books.send_all(subjects=subjects, episodes=50, per_batch=50)
        assert eventually(lambda: leases(books) > 0)
        time.sleep(chance.uniform(0.0, 0.3))
        held += leases(books)
        stack.restart("worker")
    with report.timing("settled_in"):
        books.balance()
    assert held > 0, "the worker was idle whenever it died"
    report.note(episodes=books.acknowledged, kills=kills, runs_held_at_death=held, lost=0, doubled=0)


def test_api_killed_in_the_middle_of_batches(stack: RunningStack, form: str, report: Report) -> None:
    books = [Books(stack) for _ in range(8)]
    rounds, kills = (12, 2) if form == "short" else (60, 8)

    def send(book: Books) -> None:
        for number in range(rounds):
            while not book.send(f"s{number % 3}", 25):
                time.sleep(0.05)

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(send, book) for book in books]
        for _ in range(kills):
            time.sleep(0.3)
            stack.restart("api")
            stack.wait_ready()
        for future in done:
            future.result()
    unsure = 0
    for book in books:
        found = book.settle()
        # A batch whose answer never came may be there: wholly, or not at all.
        extra = found["episodes"] - book.acknowledged
        assert extra >= 0 and extra % 25 == 0 and extra <= book.refused
        with operator(stack) as conn:
            sizes = conn.execute(
                "select count(*) from episodes where tenant_id = %s group by created_at, subject_id", (book.tenant,)
            ).fetchall()
        assert all(size % 25 == 0 for (size,) in sizes)
        unsure += extra
        book.acknowledged += extra
        book.balance()
    report.note(
        episodes=sum(b.acknowledged for b in books), kills=kills, there_without_answer=unsure, lost=0, half_batches=0
    )


@pytest.mark.usefixtures("short_leases")
def test_stalled_worker_loses_its_run_and_cannot_commit(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    subjects, stalls = (6, 1) if form == "short" else (30, 4)
    taken_over = refused = 0
    for _ in range(stalls):
        books.send_all(subjects=subjects, episodes=60, per_batch=60)
        held = stall_worker_that_holds_runs(books)
        stack.start("worker", name="successor")
        books.settle()
        assert held <= set(runs_of(books, "errors::text like '%%the worker%%'")), "each went to the successor"
        taken_over += len(held)
        for pid in worker_pids(stack, "worker"):
            os.kill(pid, signal.SIGCONT)
        # The stalled threads go on where they stood; what they bring is refused, and they take new work.
        stack.processes.pop("successor").stop()
        books.send_all(subjects=subjects, episodes=10, per_batch=10)
        books.settle()
        refused += last_lines(stack.processes["worker"].log_path, 200).count("run lost")
    books.balance()
    report.note(
        episodes=books.acknowledged, stalls=stalls, runs_taken_over=taken_over, commits_refused=refused, doubled=0
    )


def stall_worker_that_holds_runs(books: Books) -> set[UUID]:
    """Stop the worker's processes at a moment at which it holds runs; the runs."""
    held: set[UUID] = set()

    def stops_in_the_middle() -> bool:
        if not leases(books):
            return False
        pids = worker_pids(books.stack, "worker")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        held.update(runs_of(books, "lease_until is not null"))
        if not held:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        return bool(held)

    assert eventually(stops_in_the_middle), "the worker held nothing whenever it was looked at"
    return held


def runs_of(books: Books, where: LiteralString) -> list[UUID]:
    with operator(books.stack) as conn:
        rows = conn.execute(f"select id from runs where tenant_id = %s and {where}", (books.tenant,))
        return [run_id for (run_id,) in rows]


def worker_pids(stack: RunningStack, name: str) -> list[int]:
    leader = stack.processes[name].pid
    assert leader is not None
    group = os.getpgid(leader)
    return [pid for pid in processes_with(stack.environ["STATEWAVE_PORT"]) if _group(pid) == group]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def leases(books: Books) -> int:
    with operator(books.stack) as conn:
        row = conn.execute(
            "select count(*) from runs where tenant_id = %s and lease_until is not null", (books.tenant,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_sigterm_under_load(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    subjects, stops = (10, 1) if form == "short" else (60, 5)
    for _ in range(stops):
        books.send_all(subjects=subjects, episodes=50, per_batch=50)
        # Not runs that are under way: those may wait for their next stage while the worker still starts.
        assert eventually(lambda: leases(books) > 0), "the worker takes something up"
        worker = stack.processes["worker"]
        worker.request_stop()
        with report.timing("stopped_in"):
            assert worker.wait(60) == 0
        assert leases(books) == 0, "what was not finished is free at once"
        stack.restart("worker")
    books.balance()
    with operator(stack) as conn:
        (crashed,) = conn.execute("select count(*) from runs where crashes > 0 and tenant_id = %s", (books.tenant,))
    assert crashed == (0,) and books.crashes() == 0, "being told to go is no crash"
    report.note(episodes=books.acknowledged, stops=stops, crashes=0)


def test_two_schedulers_and_repeated_ticks_fire_once(stack: RunningStack, form: str, report: Report) -> None:
    stack.start("scheduler", name="second scheduler")
    tick_messages(stack, 3)

    def declared() -> bool:
        with operator(stack) as conn:
            return conn.execute("select 1 from schedules").fetchone() is not None

    assert eventually(declared)
    rounds = 3 if form == "short" else 20
    for number in range(rounds):
        # The next tick comes now instead of in ten minutes; every scheduler says so several times.
        with operator(stack) as conn:
            conn.execute(
                "with gone as (delete from schedule_ticks where schedule = 'expire-memories')"
                " update schedules set next_tick = now() - interval '1 hour', last_tick = null"
                " where name = 'expire-memories'"
            )
            conn.execute("delete from runs where stage = 'expire-memories'")
        tick_messages(stack, 12)
        assert eventually(lambda: fired(stack) == ("completed", 1)), f"round {number}: {fired(stack)}"
    if form == "long":
        time.sleep(130)  # Two minutes of both schedulers on their own.
    with operator(stack) as conn:
        rows = conn.execute(
            "select stage, params ->> 'tick', count(*) from runs where kind = 'maintenance' group by 1, 2"
        ).fetchall()
    assert rows and all(count == 1 for _, _, count in rows)
    report.note(schedulers=2, ticks=len(rows), fired_twice=0)


def tick_messages(stack: RunningStack, count: int) -> None:
    """What `count` schedulers send within one minute."""
    from dramatiq import Message
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=stack.redis_url, namespace="statewave")  # type: ignore[no-untyped-call]
    for _ in range(count):
        broker.enqueue(Message(queue_name="maintenance", actor_name="tick", args=(), kwargs={}, options={}))
    broker.client.close()


def fired(stack: RunningStack) -> tuple[str, int] | None:
    with operator(stack) as conn:
        row: tuple[str, int] | None = conn.execute(
            "select min(state), count(*) from runs where stage = 'expire-memories'"
        ).fetchone()
    return row
