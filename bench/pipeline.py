"""The pipeline from accepted to searchable, on a stack of its own.

    python -m bench.pipeline [--scale 0.2]

Throughput: episodes are stored while the compile queue is paused; then it is resumed and the time taken until the last
one is compiled, with one and with two worker processes. Lag: batches arrive at half of that rate, each of a subject
of its own, and each run says how long after its quiet period its memories were there. Claim: what taking and ending a
run costs the database. Webhooks: deliveries to one endpoint, recorded while their queue is paused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench.conversation import load_directory
from bench.report import percentile
from bench.scenarios import Workload
from bench.stack import Stack, StackFailed, own_stack
from bench.webhook_receiver import receiving
from bench.wire import drive, encode
from config.ids import uuid7
from storage import embedded_postgres, new_runs, runs
from storage.transactions import open_pool, operator_transaction

SUBJECTS = 100
EPISODES_PER_SUBJECT = 100
LAG_SECONDS = 15
LAG_BATCH = 20
QUIET_SECONDS = 1.0
CLAIMS = 1000
WEBHOOKS = 2000

CONVERSATIONS = Path(__file__).parent / "conversations"


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """What was measured."""

    episodes_per_second: dict[int, float]
    lag_seconds: Sequence[float]
    lag_rate: float
    claim_ms: float
    webhooks_per_second: float

    def lines(self) -> list[str]:
        rates = [f"{count} worker process{'es' * (count > 1)}" for count in self.episodes_per_second]
        lines = [
            f"pipeline, {name:<20} {rate:8,.0f} episodes/s from stored to searchable"
            for name, rate in zip(rates, self.episodes_per_second.values(), strict=True)
        ]
        lines.append(
            f"lag beyond the quiet period   p50 {percentile(self.lag_seconds, 0.5):.2f} s,"
            f" p95 {percentile(self.lag_seconds, 0.95):.2f} s at {self.lag_rate:,.0f} episodes/s (half load)"
        )
        lines.append(f"claiming and ending a run     {self.claim_ms:.2f} ms")
        lines.append(f"webhooks, 1 worker process    {self.webhooks_per_second:8,.0f} deliveries/s to one endpoint")
        return lines


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 1 when the stack did not start or answers were errors."""
    parser = argparse.ArgumentParser(prog="bench.pipeline", description="Pipeline benchmark on a stack of its own.")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of episodes")
    options = parser.parse_args(arguments)
    try:
        report = measure(scale=options.scale)
    except StackFailed as ex:
        print(ex, file=sys.stderr)
        return 1
    print("\n".join(report.lines()))
    return 0


def measure(*, scale: float) -> PipelineReport:
    """Measure everything."""
    rates: dict[int, float] = {}
    for processes in (1, 2):
        with started(processes) as stack:
            rates[processes] = throughput(stack, subjects=max(4, round(SUBJECTS * scale)))
    with started(1) as stack:
        rate = rates[1] / 2
        lags = lag(stack, batches_per_second=rate / LAG_BATCH, seconds=max(5.0, LAG_SECONDS * scale))
        claim_ms = claim_cost(stack)
    return PipelineReport(rates, lags, rate, claim_ms, webhook_rate(max(100, round(WEBHOOKS * scale))))


@contextmanager
def started(processes: int) -> Iterator[Stack]:
    settings = {"auto_compile_after_seconds": str(QUIET_SECONDS), "worker_processes": str(processes)}
    with own_stack(log_level="WARNING", **settings) as stack:
        stack.start()
        yield stack


def throughput(stack: Stack, *, subjects: int) -> float:
    """Episodes per second from a full queue to the last one searchable."""
    workload = Workload(load_directory(CONVERSATIONS), host=urlsplit(stack.url).netloc)
    warm_up = [workload.batch(f"warm-{n}", n, 20) for n in range(8)]
    send(stack, warm_up)
    wait_compiled(stack)
    send(stack, [post(stack, "/admin/queues/compile/pause")])
    send(stack, [workload.batch(f"full-{n}", n, EPISODES_PER_SUBJECT) for n in range(subjects)])
    time.sleep(QUIET_SECONDS + 0.5)
    began = time.perf_counter()
    send(stack, [post(stack, "/admin/queues/compile/resume")])
    wait_compiled(stack)
    return subjects * EPISODES_PER_SUBJECT / (time.perf_counter() - began)


def lag(stack: Stack, *, batches_per_second: float, seconds: float) -> list[float]:
    """Seconds between the end of the quiet period and memories, of each batch."""
    workload = Workload(load_directory(CONVERSATIONS), host=urlsplit(stack.url).netloc)
    batches = [workload.batch(f"lag-{n}", n, LAG_BATCH) for n in range(int(batches_per_second * seconds))]
    began = time.perf_counter()
    for number, batch in enumerate(batches):
        time.sleep(max(0.0, began + number / batches_per_second - time.perf_counter()))
        send(stack, [batch])
    wait_compiled(stack)
    with operator(stack) as conn:
        rows = conn.execute(
            "select extract(epoch from finished_at - run_after)::float8 from runs"
            " where state = 'completed' and subject_id like 'lag-%'"
        ).fetchall()
    return [seconds for (seconds,) in rows]


def webhook_rate(events: int) -> float:
    """Deliveries per second from a full queue to the last one accounted for."""
    quiet = {"auto_compile_after_seconds": "", "webhook_allow_private": "true", "log_level": "WARNING"}
    with receiving() as receiver, own_stack(webhook_url=receiver.url, **quiet) as stack:
        stack.start()
        workload = Workload(load_directory(CONVERSATIONS), host=urlsplit(stack.url).netloc)
        send(stack, [post(stack, "/admin/queues/webhooks/pause")])
        send(stack, [workload.single(f"told-{n}", n) for n in range(events)])
        began = time.perf_counter()
        send(stack, [post(stack, "/admin/queues/webhooks/resume")])
        wait_delivered(stack)
        seconds = time.perf_counter() - began
        if receiver.taken < events:
            raise StackFailed(f"of {events} events {receiver.taken} were delivered")
        return events / seconds


def claim_cost(stack: Stack) -> float:
    """Milliseconds to claim a run and to end it, each in a transaction."""
    pool = open_pool(embedded_postgres.url(stack.data_dir), size=1)
    ids = [uuid7() for _ in range(CLAIMS)]
    with pool, operator_transaction(pool) as conn:
        for number, run_id in enumerate(ids):
            new_runs.add(
                conn,
                run_id=run_id,
                tenant_id="bench",
                subject_id=None,
                kind="bench",
                # A queue that nobody serves.
                queue="bench",
                stage="bench",
                unique_key=f"bench:{number}",
                params={},
            )
    pool = open_pool(embedded_postgres.url(stack.data_dir), size=1)
    with pool:
        began = time.perf_counter()
        for run_id in ids:
            with operator_transaction(pool) as conn:
                run = runs.claim(conn, run_id, stage=None, lease=timedelta(seconds=30))
            assert run is not None
            with operator_transaction(pool) as conn:
                runs.complete(conn, run, result={})
        return (time.perf_counter() - began) / CLAIMS * 1000


def send(stack: Stack, requests: Sequence[bytes]) -> None:
    measured = drive(stack.url, requests, connections=4, seconds_at_most=300)
    if measured.errors:
        raise StackFailed(f"the server answered with errors: {measured.failure}")


def post(stack: Stack, path: str) -> bytes:
    return encode("POST", path, b"", host=urlsplit(stack.url).netloc)


def wait_compiled(stack: Stack) -> None:
    """Wait until no stored episode waits for its compilation."""
    with operator(stack) as conn:
        while True:
            row = conn.execute("select coalesce(sum(episode_count - compiled_count), 0) from subjects").fetchone()
            if row is not None and row[0] == 0:
                return
            time.sleep(0.02)


def wait_delivered(stack: Stack) -> None:
    """Wait until no webhook is left to be sent."""
    with operator(stack) as conn:
        while conn.execute("select 1 from runs where kind = 'webhook' and state <> 'completed' limit 1").fetchone():
            time.sleep(0.02)


@contextmanager
def operator(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(embedded_postgres.url(stack.data_dir), autocommit=True) as conn:
        conn.execute("set role statewave_operator")
        yield conn


if __name__ == "__main__":
    sys.exit(main())
