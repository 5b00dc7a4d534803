"""The audit log: which operator did what to what, written in the transaction of the action itself.

An action that is rolled back leaves no row, and none is committed without its row. Rows hold names, ids and numbers,
never what subjects said, and no secrets.

Operators' actions are recorded even where nobody thought of it: while an action is `acting`, the first transaction
that writes anything writes a row of the log too, unless `record` said it better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import msgspec

from config.ids import uuid7
from storage import audit
from storage.audit import AuditEntry, AuditFilter
from storage.standing import before_commit
from storage.transactions import Connection, Pool, operator_transaction

#: Entries that an export reads at a time.
EXPORT_PAGE = 1000


def list_entries(
    pool: Pool, which: AuditFilter, *, cursor: UUID | None, limit: int
) -> tuple[list[AuditEntry], UUID | None]:
    """What operators did, the newest first, and the cursor of the next page if there is one."""
    with operator_transaction(pool) as conn:
        page = audit.list_entries(conn, which, before=cursor, limit=limit + 1)
    return page[:limit], page[limit - 1].id if len(page) > limit else None


def export(pool: Pool, which: AuditFilter) -> Iterator[AuditEntry]:
    """All of it, read page by page: neither the log nor a transaction has to last in memory for the whole of it."""
    cursor: UUID | None = None
    while True:
        page, cursor = list_entries(pool, which, cursor=cursor, limit=EXPORT_PAGE)
        yield from page
        if cursor is None:
            return


class _Action:
    """An operator's action under way."""

    def __init__(self, **row: Any) -> None:
        self._row = row
        self._recorded_on: Connection | None = None
        self._is_recorded = False

    def recorded_on(self, conn: Connection) -> None:
        """Somebody recorded it within the transaction that this connection is in."""
        self._recorded_on = conn

    def attend(self, conn: Connection) -> None:
        """Called before each commit."""
        if not self._is_recorded:
            self._is_recorded = conn is self._recorded_on or audit.insert_if_writing(conn, uuid7(), **self._row)


_acting: ContextVar[_Action | None] = ContextVar("acting", default=None)


@contextmanager
def acting(
    *,
    actor: str,
    action: str,
    tenant_id: str | None,
    target: str = "",
    details: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> Iterator[None]:
    """Record what is done within, with the first of its transactions that writes. Reading leaves no row.

    Args: as those of `record`.
    """
    under_way = _Action(
        actor=actor,
        action=action,
        tenant_id=tenant_id,
        target=target,
        details=msgspec.json.encode(dict(details or {})),
        request_id=request_id,
    )
    tokens = _acting.set(under_way), before_commit.set(under_way.attend)
    try:
        yield
    finally:
        _acting.reset(tokens[0])
        before_commit.reset(tokens[1])


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
    if under_way := _acting.get():
        under_way.recorded_on(conn)
