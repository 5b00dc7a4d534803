"""Telling subscribers when the health of a subject changes its state: once per change, whoever notices it.

Health is looked at after every change that matters, when time alone may have changed it, and whenever somebody asks.
All of them come through `check_health`, which writes the state by compare-and-set in the transaction that records the
event. A worker that loses the race looks again, because what it saw may be older than what was written.

A worse score is told at once. A better one must exceed the threshold by `MARGIN`, so that a score on the edge does
not flap: every impact is a multiple of five, so the margin is one step. What `GET .../health` answers is the contract's
plain state; only the alerts have this memory.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec
import structlog

from config.clock import utcnow
from pipelines.services import Services
from pipelines.support.facts import Snapshot, keep_facts, load_facts
from pipelines.support.health import Health, State, assess, next_change_by_time, state_of
from storage import health_states, runs
from storage.health_states import HealthState
from storage.rows import Run
from storage.transactions import Connection, Pool, operator_transaction, tenant_transaction

log = structlog.get_logger()

#: Points above a threshold that make an improvement worth telling.
MARGIN = 5

#: Factors that an event names at most (contract: core §7.1).
FACTORS_TOLD = 3

#: Looks at a subject whose state others keep changing under us, before the next check is left to do it.
MOST_LOOKS = 10

#: Subjects that one sweep schedules at most.
SWEPT_AT_ONCE = 500


class HealthChange(msgspec.Struct, frozen=True, kw_only=True):
    """What subscribers are told: the state they knew, the state they should know, and why."""

    previous_state: str
    current_state: str
    score: int
    factors: list[dict[str, Any]]
    generated_at: datetime


#: Records the change in the transaction that brings it about: (conn, tenant_id, subject_id, change).
Tell = Callable[[Connection, str, str, HealthChange], None]

#: Of writing a state down: somebody else wrote before, and only the score, or what subscribers know, would differ.
Outcome = Literal["written", "score outdated", "state outdated"]

_BADNESS: dict[str, int] = {"healthy": 0, "watch": 1, "at_risk": 2}


def log_change(conn: Connection, tenant_id: str, subject_id: str, change: HealthChange) -> None:
    """Tells the log, where nobody can subscribe."""
    log.info("health changed", previous=change.previous_state, current=change.current_state, score=change.score)


def next_alert_state(previous: str, score: int) -> State:
    """The state that subscribers should know of, given the one they know."""
    plain = state_of(score)
    if _BADNESS[plain] >= _BADNESS[previous]:
        return plain
    cautious = state_of(score - MARGIN)
    return cautious if _BADNESS[cautious] < _BADNESS[previous] else _as_state(previous)


def check_health(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    now: datetime,
    tell: Tell = log_change,
    leave_score_to_others: bool = True,
) -> tuple[Health, Snapshot]:
    """Work out the subject's health, and tell of it when its state has changed since the last time.

    Args:
        leave_score_to_others: Whether a score that somebody else wrote meanwhile may stand although it is older. Right
            for readers: the run that every change schedules writes the newest.

    Returns:
        The health, and the facts it was worked out from.
    """
    for _ in range(MOST_LOOKS):
        snapshot = load_facts(conn, tenant_id, subject_id)
        health = assess(snapshot.facts, now=now)
        if not snapshot.exists:
            break
        outcome = _record(conn, tenant_id, subject_id, health, snapshot, now, tell)
        if outcome == "written" or (outcome == "score outdated" and leave_score_to_others):
            break
    return health, snapshot


def settle_health(
    pool: Pool, tenant_id: str, subject_id: str, health: Health, snapshot: Snapshot, *, now: datetime, tell: Tell
) -> None:
    """Write down what was read in a snapshot and is news: facts worked out anew, and the health. In a transaction of
    its own, if there is anything to write; who has seen a newer state writes that instead."""
    if not snapshot.exists or (snapshot.to_keep is None and not _is_news(health, snapshot, now)):
        return
    with tenant_transaction(pool, tenant_id) as conn:
        keep_facts(conn, tenant_id, subject_id, snapshot)
        if _record(conn, tenant_id, subject_id, health, snapshot, now, tell) == "state outdated":
            check_health(conn, tenant_id, subject_id, now=now, tell=tell)


def _is_news(health: Health, snapshot: Snapshot, now: datetime) -> bool:
    seen = snapshot.health
    if seen is None:
        return True
    current = next_alert_state(seen.alert_state, health.score)
    return not _same(seen, health.score, current, next_change_by_time(snapshot.facts, now=now))


def evaluate(services: Services, run: Run, *, tell: Tell = log_change) -> Run | None:
    """The one stage of a health run. None when the run was lost to another worker."""
    if run.subject_id is None:
        raise ValueError(f"run {run.id} of kind {run.kind} has no subject")
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        health, _ = check_health(
            conn, run.tenant_id, run.subject_id, now=utcnow(), tell=tell, leave_score_to_others=False
        )
        if not runs.complete(conn, run, result={"score": health.score, "state": health.state}):
            # What was checked holds whoever checked it, so it is committed all the same.
            return None
    return msgspec.structs.replace(run, state="completed")


def sweep(services: Services) -> int:
    """Schedule the subjects of all tenants whose health time alone may have changed.

    Returns:
        How many were due.
    """
    with operator_transaction(services.pool) as conn:
        return health_states.schedule_due(conn, now=utcnow(), limit=SWEPT_AT_ONCE)


def _record(
    conn: Connection, tenant_id: str, subject_id: str, health: Health, snapshot: Snapshot, now: datetime, tell: Tell
) -> Outcome:
    """Write the state down if it is news, and tell of it if it changed, unless somebody else was faster."""
    seen = snapshot.health
    previous = seen.alert_state if seen else "healthy"
    current = next_alert_state(previous, health.score)
    next_check_at = next_change_by_time(snapshot.facts, now=now)
    if seen is not None and _same(seen, health.score, current, next_check_at):
        return "written"
    if not health_states.write(
        conn,
        tenant_id,
        subject_id,
        seen=seen,
        score=health.score,
        alert_state=current,
        next_check_at=next_check_at,
        now=now,
    ):
        return "score outdated" if current == previous else "state outdated"
    if current != previous:
        change = HealthChange(
            previous_state=previous,
            current_state=current,
            score=health.score,
            factors=[msgspec.to_builtins(factor) for factor in health.factors[:FACTORS_TOLD]],
            generated_at=now,
        )
        tell(conn, tenant_id, subject_id, change)
    return "written"


def _same(seen: HealthState, score: int, alert_state: str, next_check_at: datetime | None) -> bool:
    return (seen.score, seen.alert_state, seen.next_check_at) == (score, alert_state, next_check_at)


def _as_state(name: str) -> State:
    return next(state for state in ("healthy", "watch", "at_risk") if state == name)
