"""SQL of `audit_log`: what operators did. The table takes rows and gives none back: no update, no delete."""

from __future__ import annotations

from uuid import UUID

from storage.transactions import Connection

_INSERT = """
insert into audit_log (id, actor, tenant_id, action, target, details, request_id)
values (%s, %s, %s, %s, %s, %s::json, %s)
"""


def insert(
    conn: Connection,
    id: UUID,
    *,
    actor: str,
    tenant_id: str | None,
    action: str,
    target: str,
    details: bytes,
    request_id: str | None,
) -> None:
    """Append one row; `details` is a JSON object."""
    conn.execute(_INSERT, (id, actor, tenant_id, action, target, details.decode(), request_id))
