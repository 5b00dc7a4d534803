"""Listing subjects."""

from __future__ import annotations

from pipelines.services import Services
from storage import subjects
from storage.rows import Subject
from storage.transactions import tenant_transaction


def list_subjects(services: Services, tenant_id: str, *, limit: int, offset: int) -> tuple[list[Subject], int]:
    """One page of the tenant's subjects in the order of their ids, and how many there are in all."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        return subjects.list_subjects(conn, tenant_id, limit=limit, offset=offset)
