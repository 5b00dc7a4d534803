"""Listing subjects, and forgetting one."""

from __future__ import annotations

from pipelines import webhook_events
from pipelines.services import Services
from storage import subjects
from storage.rows import Subject
from storage.transactions import tenant_transaction


def list_subjects(services: Services, tenant_id: str, *, limit: int, offset: int) -> tuple[list[Subject], int]:
    """One page of the tenant's subjects in the order of their ids, and how many there are in all."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        return subjects.list_subjects(conn, tenant_id, limit=limit, offset=offset)


def erase_subject(
    services: Services, tenant_id: str, subject_id: str, *, request_id: str | None = None
) -> tuple[int, int]:
    """Delete everything stored of the subject, in one transaction.

    A compilation that is under way loses its run with it and cannot publish.

    Returns:
        The number of episodes and of memories that were deleted; zeros for an unknown subject.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        episodes, memories = subjects.erase(conn, tenant_id, subject_id)
        webhook_events.subject_deleted(
            conn,
            services.settings,
            tenant_id,
            subject_id,
            episodes_deleted=episodes,
            memories_deleted=memories,
            request_id=request_id,
        )
    return episodes, memories
