"""Reading the ledger of erasures."""

from __future__ import annotations

from uuid import UUID

from config.errors import NotFound
from pipelines.erasure_receipts import ErasureVerification, subject_hash, verify
from pipelines.receipts.signing import Keyring
from pipelines.services import Services
from storage import erasures
from storage.erasures import ErasureRow
from storage.transactions import operator_transaction


def list_erasures(
    services: Services,
    *,
    tenant_id: str | None,
    subject_id: str | None,
    state: str | None,
    cursor: UUID | None,
    limit: int,
) -> tuple[list[ErasureRow], UUID | None]:
    """Entries, the newest first, and the cursor of the next page if there is one.

    Args:
        subject_id: whoever knows what the subject was called finds its erasures; the tenant is then needed.
    """
    wanted = subject_hash(tenant_id or "", subject_id) if subject_id is not None else None
    with operator_transaction(services.pool) as conn:
        page = erasures.page(
            conn, tenant_id=tenant_id, subject_sha256=wanted, state=state, before=cursor, limit=limit + 1
        )
    return page[:limit], page[limit - 1].id if len(page) > limit else None


def show_erasure(services: Services, erasure_id: UUID, *, tenant_id: str | None = None) -> ErasureRow:
    """One entry.

    Args:
        tenant_id: the only tenant whose entries are seen.

    Raises:
        NotFound: when there is none with this id.
    """
    with operator_transaction(services.pool) as conn:
        found = erasures.find(conn, erasure_id)
    if found is None or tenant_id not in (None, found.tenant_id):
        raise NotFound(f"there is no erasure {erasure_id}")
    return found


def verify_erasure(services: Services, erasure_id: UUID, *, tenant_id: str | None = None) -> ErasureVerification:
    """Whether the receipt is the one that was signed, and the ledger says the same.

    Raises:
        NotFound: when there is none with this id.
    """
    return verify(show_erasure(services, erasure_id, tenant_id=tenant_id), Keyring.of(services.settings))
