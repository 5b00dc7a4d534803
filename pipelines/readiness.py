"""Whether this process can serve: what an orchestrator's probe and an operator ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from pipelines.schema import schema
from pipelines.services import Services
from storage import health, run_operations
from storage.transactions import Connection, operator_transaction

#: Seconds that due work may wait for a worker, or be worked on, before a queue counts as stuck (contract: 30 minutes).
STUCK_AFTER_SECONDS = 1800

#: Seconds to wait for a connection: a probe must answer before whoever asks gives up.
CONNECT_SECONDS = 2.0


#: What a check that found something comes to.
Failure: TypeAlias = Literal["degraded", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing the server depends on."""

    name: str
    status: Literal["ok", "degraded", "fail"]
    detail: str | None = None
    latency_ms: float | None = None


class Mild(str):
    """A complaint that only degrades, where others of the same check are failures."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """All checks, and what they come to."""

    status: Literal["ready", "degraded", "not_ready"]
    checks: list[Check]


def readiness(services: Services) -> Readiness:
    """Look at everything the server depends on. Answers also when nothing works; raises never."""
    database = _timed("database", lambda: _database(services), failure="fail")
    checks = [database]
    probes: list[tuple[str, Callable[[], str | None], Failure]] = [
        ("schema", lambda: _schema(services), "fail"),
        ("queue", lambda: _of_runs(services, _queue), "degraded"),
        ("quarantine", lambda: _of_runs(services, _quarantine), "degraded"),
    ]
    for name, probe, failure in probes:
        if database.status == "ok":
            checks.append(_timed(name, probe, failure=failure))
        else:
            # Each would wait for the same connection; a probe must answer before whoever asks gives up.
            checks.append(Check(name=name, status="degraded", detail="unknown while the database does not answer"))
    checks.append(_timed("broker", lambda: _broker(services), failure="degraded"))
    checks.append(_models(services))
    if any(check.status == "fail" for check in checks):
        return Readiness(status="not_ready", checks=checks)
    if any(check.status == "degraded" for check in checks):
        return Readiness(status="degraded", checks=checks)
    return Readiness(status="ready", checks=checks)


def _timed(name: str, probe: Callable[[], str | None], *, failure: Failure) -> Check:
    """Run a probe. It returns a complaint or nothing; an exception is a complaint too."""
    started = time.perf_counter()
    try:
        complaint = probe()
    except Exception as ex:
        # A probe must answer whatever happens; the type says enough without leaking a connection string.
        complaint = f"does not answer ({type(ex).__name__})"
    latency = round((time.perf_counter() - started) * 1000, 1)
    if isinstance(complaint, Mild):
        failure = "degraded"
    return Check(name=name, status=failure if complaint else "ok", detail=complaint, latency_ms=latency)


def _database(services: Services) -> str | None:
    with operator_transaction(services.pool, wait_seconds=CONNECT_SECONDS, everywhere=True) as conn:
        conn.execute("select 1")
    return None


def _schema(services: Services) -> str | None:
    state = schema(services)
    if state.pending or state.edited:
        return state.summary
    # What servers of the old version see during every rolling update: they go on, and are to be replaced.
    return Mild(f"the schema is newer than this server ({', '.join(state.unknown)})") if state.unknown else None


def _broker(services: Services) -> str | None:
    services.ping_broker()
    return None


def _models(services: Services) -> Check:
    """What the fleet's last calls to models found out. Nobody is called, so a probe costs nothing."""
    models = services.models
    if models is None:
        return Check(name="llm", status="ok", detail="skipped: no model is configured to compile")
    return _timed("llm", lambda: _troubled(models.troubles()), failure="degraded")


def _troubled(models: Sequence[tuple[str, str | None]]) -> str | None:
    """A complaint when no model is left to ask."""
    if any(reason is None for _, reason in models):
        return None
    return "left alone for now: " + ", ".join(f"{model} ({reason})" for model, reason in models)


def _of_runs(services: Services, look: Callable[[Connection], str | None]) -> str | None:
    with operator_transaction(services.pool, everywhere=True) as conn:
        return look(conn)


def _queue(conn: Connection) -> str | None:
    complaints = [
        f"due work of {queue} has been waiting for {seconds / 60:.0f} minutes: are workers running?"
        for queue, seconds in sorted(health.longest_waits(conn).items())
        if seconds > STUCK_AFTER_SECONDS
    ]
    running = health.longest_running(conn)
    if running is not None and running > STUCK_AFTER_SECONDS:
        complaints.append(f"a run has been at one stage for {running / 60:.0f} minutes")
    complaints += [f"{queue} is paused" for queue in health.paused_queues(conn)]
    return "; ".join(complaints) or None


def _quarantine(conn: Connection) -> str | None:
    lanes = [f"{queue}/{kind} ({count})" for queue, kind, count in run_operations.quarantined_lanes(conn)]
    return f"runs that killed their workers wait for an operator: {', '.join(lanes)}" if lanes else None
