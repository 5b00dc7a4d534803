"""The audit log: which operator did what to what, written in the transaction of the action itself.

An action that is rolled back leaves no row, and none is committed without its row. Rows hold names, ids and numbers,
never what subjects said, and no secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from config.ids import uuid7
from storage import audit
from storage.transactions import Connection


def record(
    conn: Connection,
    *,
    actor: str,
    action: str,
    tenant_id: str | None,
    target: str = "",
    details: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> None:
    """Append to the log within the transaction of the action.

    Args:
        actor: name of the key: `principal.name`.
        action: what was done, as `thing.verb`: `tenant_config.update`, `key.revoke`.
        tenant_id: whose rows were touched; None where it concerns the installation. Within a tenant's transaction it
            can only be that tenant.
        target: id of the thing.
        details: numbers and names that say more.
    """
    audit.insert(
        conn,
        uuid7(),
        actor=actor,
        tenant_id=tenant_id,
        action=action,
        target=target,
        details=msgspec.json.encode(dict(details or {})),
        request_id=request_id,
    )
