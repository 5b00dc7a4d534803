"""Whether this process can serve: what an orchestrator's probe and an operator ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import msgspec
import psycopg

from pipelines.services import Services
from storage import health
from storage.transactions import operator_transaction

#: Seconds that due work may wait for a worker before the queue counts as stuck.
STUCK_AFTER_SECONDS = 1800


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing the server depends on."""

    name: str
    status: Literal["ok", "degraded", "fail"]
    detail: str | None = None
    latency_ms: float | None = None


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """All checks, and what they come to."""

    status: Literal["ready", "degraded", "not_ready"]
    checks: list[Check]


def readiness(services: Services) -> Readiness:
    """Look at everything the server depends on. Answers also when nothing works; raises never."""
    checks = [
        _timed("database", lambda: _database(services), failure="fail"),
        _timed("broker", lambda: _broker(services), failure="degraded"),
        _timed("queue", lambda: _queue(services), failure="degraded"),
    ]
    if any(check.status == "fail" for check in checks):
        return Readiness(status="not_ready", checks=checks)
    if any(check.status == "degraded" for check in checks):
        return Readiness(status="degraded", checks=checks)
    return Readiness(status="ready", checks=checks)


def _timed(name: str, probe: Callable[[], str | None], *, failure: Literal["degraded", "fail"]) -> Check:
    """Run a probe. It returns a complaint or nothing; an exception is a complaint too."""
    started = time.perf_counter()
    try:
        complaint = probe()
    except Exception as ex:
        # A probe must answer whatever happens; the type says enough without leaking a connection string.
        complaint = f"does not answer ({type(ex).__name__})"
    latency = round((time.perf_counter() - started) * 1000, 1)
    return Check(name=name, status=failure if complaint else "ok", detail=complaint, latency_ms=latency)


def _database(services: Services) -> str | None:
    with services.pool.connection(timeout=2) as conn:
        conn.execute("select 1")
    return None


def _broker(services: Services) -> str | None:
    services.ping_broker()
    return None


def _queue(services: Services) -> str | None:
    try:
        with operator_transaction(services.pool) as conn:
            waiting = health.longest_wait_seconds(conn)
    except psycopg.OperationalError:
        return None  # The database check says so already.
    if waiting is not None and waiting > STUCK_AFTER_SECONDS:
        return f"due work has been waiting for {int(waiting // 60)} minutes: are workers running?"
    return None
