"""What is not kept for ever: finished runs, and memories past their time."""

from __future__ import annotations

from datetime import timedelta

from config.clock import utcnow
from pipelines.services import Services
from storage import memories, runs
from storage.transactions import operator_transaction

#: Rows per transaction, so that a purge never holds locks for long.
BATCH = 1000


def purge_finished_runs(services: Services) -> int:
    """Delete completed and cancelled runs past `STATEWAVE_COMPILE_JOB_RETENTION_HOURS`, in small transactions.

    Returns:
        How many were deleted.
    """
    hours = services.settings.compile_job_retention_hours
    if hours == 0:
        return 0
    before = utcnow() - timedelta(hours=hours)
    total = 0
    while True:
        with operator_transaction(services.pool) as conn:
            deleted = runs.purge_finished(conn, before=before, limit=BATCH)
        total += deleted
        if deleted < BATCH:
            return total


def tombstone_expired(services: Services) -> int:
    """Set the status of active memories whose `valid_to` has passed; their former state is kept as a version.

    Returns:
        How many were tombstoned.
    """
    total = 0
    while True:
        with operator_transaction(services.pool) as conn:
            changed = memories.tombstone_expired(conn, limit=BATCH)
        total += changed
        if changed < BATCH:
            return total
