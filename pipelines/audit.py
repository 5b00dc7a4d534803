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

import msgspec

from config.ids import uuid7
from storage import audit
from storage.transactions import Connection, before_commit


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
