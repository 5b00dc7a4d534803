"""What is not kept for ever: finished runs, memories past their time, single calls to providers, outdated figures."""

from __future__ import annotations

from datetime import timedelta

from config.clock import utcnow
from pipelines.piecemeal import piecemeal
from pipelines.services import Services
from storage import memories, provider_usage, run_operations, schedules, support_facts
from storage.transactions import operator_transaction

#: How long the ticks of schedules are kept.
TICKS_KEPT = timedelta(days=7)


def purge_finished_runs(services: Services) -> int:
    """Delete completed and cancelled runs past `STATEWAVE_COMPILE_JOB_RETENTION_HOURS`, in small transactions.

    Returns:
        How many were deleted.
    """
    hours = services.settings.compile_job_retention_hours
    if hours == 0:
        return 0
    before = utcnow() - timedelta(hours=hours)
    return piecemeal(services.pool, lambda conn, most: run_operations.purge_finished(conn, before=before, limit=most))


def tombstone_expired(services: Services) -> int:
    """Set the status of active memories whose `valid_to` has passed; their former state is kept as a version.

    Returns:
        How many were tombstoned.
    """
    return piecemeal(services.pool, lambda conn, most: memories.tombstone_expired(conn, limit=most))


def purge_provider_calls(services: Services) -> int:
    """Delete single calls to model providers past `STATEWAVE_PROVIDER_CALL_RETENTION_DAYS`; their sums stay.

    Returns:
        How many were deleted.
    """
    days = services.settings.provider_call_retention_days
    if days == 0:
        return 0
    before = utcnow() - timedelta(days=days)
    return piecemeal(services.pool, lambda conn, most: provider_usage.purge_calls(conn, before=before, limit=most))


def clean_caches(services: Services) -> int:
    """Delete derived rows that what they were worked out from has outgrown.

    Returns:
        How many were deleted.
    """
    return piecemeal(services.pool, lambda conn, most: support_facts.forget_outdated(conn, limit=most))


def purge_ticks(services: Services) -> int:
    """Forget ticks that are older than a week.

    Returns:
        How many were forgotten.
    """
    with operator_transaction(services.pool) as conn:
        return schedules.purge_ticks(conn, before=utcnow() - TICKS_KEPT)
