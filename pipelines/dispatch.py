"""Handing runs to workers: fairly, and not faster than they work.

What is handed out waits on the broker in the order it came, so it cannot be fair any more: the broker's queue is kept
short, and the order is decided here, late, from the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from pipelines.compile_runs import queue_of
from pipelines.services import Services
from storage import run_dispatch
from storage.rows import Run
from storage.transactions import operator_transaction

#: A run that nobody claimed for so long is handed out again. Shorter sends more duplicates under load, which are
#: harmless; longer makes a lost broker cost more time.
PATIENCE = timedelta(seconds=5)

#: Tenants looked at in one round; the next round begins behind the last one.
TENANTS_PER_ROUND = 200

#: Automatic compiles moved in one statement.
POSTPONED_AT_ONCE = 2000


@dataclass(slots=True)
class Turns:
    """Whose turn it is in a queue: the tenant that was last given a run."""

    last: str | None = field(default=None)


def hand_out(services: Services, queue: str, turns: Turns, *, limit: int) -> list[Run]:
    """Due runs of a queue, at most `limit`, one tenant after the other; they count as handed out.

    An automatic compile whose subject is still being written to is put off instead.
    """
    share = services.settings.tenant_runs_in_flight
    with operator_transaction(services.pool) as conn:
        if queue == queue_of(services.settings) and services.settings.auto_compile_after_seconds is not None:
            run_dispatch.postpone_until_quiet(
                conn,
                quiet=timedelta(seconds=services.settings.auto_compile_after_seconds),
                at_latest=timedelta(seconds=services.settings.auto_compile_at_latest_seconds),
                limit=POSTPONED_AT_ONCE,
            )
        tenants = run_dispatch.tenants_with_runs(conn, queue, after=turns.last, limit=TENANTS_PER_ROUND)
        if turns.last is not None and len(tenants) < TENANTS_PER_ROUND:
            seen = set(tenants)
            first = run_dispatch.tenants_with_runs(conn, queue, after=None, limit=TENANTS_PER_ROUND - len(tenants))
            tenants += [tenant for tenant in first if tenant not in seen]
        handed = (
            run_dispatch.hand_out(conn, queue, tenants=tenants, limit=limit, share=share, patience=PATIENCE)
            if tenants
            else []
        )
    if handed:
        turns.last = handed[-1].tenant_id
    elif len(tenants) == TENANTS_PER_ROUND:
        turns.last = tenants[-1]
    return handed


def seconds_until_next(services: Services, queues: list[str]) -> float | None:
    """Seconds until the next run of these queues becomes due; None when none waits."""
    with operator_transaction(services.pool) as conn:
        return run_dispatch.seconds_until_next(conn, queues)


def reap(services: Services, *, limit: int = 500) -> int:
    """Free the runs of dead workers.

    Returns:
        How many there were.
    """
    with operator_transaction(services.pool) as conn:
        queues = run_dispatch.reap(conn, limit=limit)
        for queue in set(queues):
            run_dispatch.announce(conn, queue)
    return len(queues)
