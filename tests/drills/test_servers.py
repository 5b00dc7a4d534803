"""Redis and PostgreSQL go away, forget, and come back."""

from __future__ import annotations

import threading
import time

import httpx
import pytest
import redis

from storage.embedded_postgres import EmbeddedPostgres
from tests.drills.ledger import Books, eventually, readiness
from tests.drills.report import Report
from tests.fixtures.stack import RunningStack


def test_redis_flushed_and_restarted_with_work_pending(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    subjects = 60 if form == "short" else 1000
    stack.processes["worker"].kill()
    books.send_all(subjects=subjects, episodes=2, per_batch=2)
    for number in range(0, subjects, 10):
        books.request_compile(f"s{number}")
    stack.restart("worker")
    with redis.Redis.from_url(stack.redis_url) as client:
        assert eventually(lambda: books.counts()["compiled"] > 0)
        for _ in range(3):
            client.flushall()
            time.sleep(0.2)
    stack.redis.stop()
    stack.redis.start()
    with report.timing("settled_in"):
        books.balance()
    report.note(runs_pending=subjects, flushed=3, restarted=1, lost=0)


def test_redis_down(stack: RunningStack, form: str, report: Report) -> None:
    books = Books(stack)
    seconds = 2 if form == "short" else 20
    books.send_all(subjects=4, episodes=10, per_batch=10)
    stack.redis.stop()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        books.send_all(subjects=4, episodes=10, per_batch=10)
        time.sleep(0.2)
    status, verdict, checks = readiness(stack)
    assert (status, verdict) == (200, "degraded"), checks
    assert next(check for check in checks if check["name"] == "broker")["status"] == "degraded"
    before = books.counts()
    stack.redis.start()
    began = time.monotonic()
    assert eventually(lambda: books.counts()["compiled"] > before["compiled"])
    report.note(
        away=f"{seconds} s", accepted_meanwhile=books.acknowledged, resumed_after=f"{time.monotonic() - began:.1f} s"
    )
    books.balance()
    assert eventually(lambda: readiness(stack)[1] == "ready")


@pytest.mark.usefixtures("short_leases")
def test_postgres_restarted(stack: RunningStack, drill_postgres: EmbeddedPostgres, form: str, report: Report) -> None:
    books = Books(stack)
    restarts = 1 if form == "short" else 5
    ended = threading.Event()

    def keep_sending() -> None:
        number = 0
        while not ended.is_set():
            books.send(f"s{number % 5}", 20)
            number += 1
            time.sleep(0.05)

    sender = threading.Thread(target=keep_sending)
    sender.start()
    for _ in range(restarts):
        time.sleep(1.0)
        drill_postgres.stop()
        time.sleep(0.5)
        assert httpx.get(f"{stack.base_url}/readyz", timeout=30).status_code == 503
        drill_postgres.start()
        time.sleep(1.0)
    ended.set()
    sender.join()
    with report.timing("settled_in"):
        found = books.settle()
    # A batch that was committed while its answer was lost is there, wholly.
    extra = found["episodes"] - books.acknowledged
    assert extra >= 0 and extra % 20 == 0 and extra <= books.refused
    books.acknowledged += extra
    books.balance()
    assert books.refused <= 20 * 5 * restarts, "a restart costs the requests of that moment, not one per connection"
    report.note(
        episodes=books.acknowledged, restarts=restarts, refused=books.refused, there_without_answer=extra, lost=0
    )
