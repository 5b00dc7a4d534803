"""SQL of `audit_log`: what operators did. The table takes rows and gives none back: no update, no delete."""

from __future__ import annotations

from uuid import UUID

from storage.transactions import Connection

_INSERT = """
insert into audit_log (id, actor, tenant_id, action, target, details, request_id)
values (%s, %s, %s, %s, %s, %s::json, %s)
"""


# Within a tenant's transaction the row can only be that tenant's.
_INSERT_IF_WRITING = """
insert into audit_log (id, actor, tenant_id, action, target, details, request_id)
select %s, %s, case current_user when 'statewave_app' then current_setting('app.tenant_id') else %s end, %s, %s,
       %s::json, %s
 where pg_current_xact_id_if_assigned() is not null
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


def insert_if_writing(
    conn: Connection,
    id: UUID,
    *,
    actor: str,
    tenant_id: str | None,
    action: str,
    target: str,
    details: bytes,
    request_id: str | None,
) -> bool:
    """Append one row if the transaction has written or locked anything so far; whether it has."""
    values = (id, actor, tenant_id, action, target, details.decode(), request_id)
    return conn.execute(_INSERT_IF_WRITING, values).rowcount == 1
