"""API keys: making, listing, rotating and revoking them. For the API and for the shell alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from config.clock import utcnow
from config.errors import Conflict, FieldProblem, Forbidden, NotFound, ValidationFailed
from pipelines import audit
from pipelines.key_format import SentKey, new_key
from pipelines.principal import ANONYMOUS, SHARED, Principal, Scope
from storage import api_keys
from storage.api_keys import KeyView
from storage.transactions import Connection, Pool, operator_transaction

#: Names that the audit log gives to those who have no key of ours.
RESERVED_NAMES = frozenset({ANONYMOUS.name, SHARED.name})

_ORDER: tuple[Scope, ...] = ("read", "write", "admin")


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `tenant_id` None makes a key for operators."""

    name: str
    tenant_id: str | None = None
    #: None means all that such a key can have.
    scopes: Collection[Scope] | None = None
    expires_at: datetime | None = None
    caller_id: str | None = None
    caller_type: str | None = None


def create(pool: Pool, asked: NewKey, *, by: Principal, request_id: str | None = None) -> tuple[KeyView, str]:
    """Make a key.

    Returns:
        What is stored, and the key itself, which nobody can read again.

    Raises:
        ValidationFailed: when the parts do not go together.
        Forbidden: when it would open more than the key of whoever asks.
        Conflict: when a key that is in use bears the name.
    """
    now = utcnow()
    scopes = _scopes(asked, by)
    if asked.expires_at is not None and asked.expires_at <= now:
        raise _invalid("expires_at", "Expected a moment in the future")
    if asked.name in RESERVED_NAMES:
        raise _invalid("name", "Expected another name: this one means requests without a key of their own")
    key, sent = new_key()
    with operator_transaction(pool) as conn:
        made = _insert(conn, asked, scopes, sent, by=by, now=now)
        if made is None:
            raise Conflict(f"a key in use is named {asked.name!r}; names stand in the audit log and must be told apart")
        _log(conn, "key.create", made, by, request_id)
    return made, key


def rotate(
    pool: Pool, key_id: str, *, overlap: timedelta, by: Principal, request_id: str | None = None
) -> tuple[KeyView, str]:
    """Make a key that takes the place of another. The other one works for `overlap` longer, never longer than before.

    Raises:
        NotFound: when there is none with this id.
        Forbidden: when it would open more than the key of whoever asks.
        Conflict: when it is over, or was replaced already.
    """
    now = utcnow()
    key, sent = new_key()
    with operator_transaction(pool) as conn:
        old = api_keys.find(conn, key_id, lock=True)
        if old is None:
            raise NotFound(f"there is no key {key_id!r}")
        if old.replaced_by is not None:
            raise Conflict(f"key {key_id} was replaced by {old.replaced_by}: rotate that one")
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise Conflict(f"key {key_id} is over; create a new one")
        asked = NewKey(
            name=old.name,
            tenant_id=old.tenant_id,
            scopes=old.scopes,  # type: ignore[arg-type]
            expires_at=old.expires_at,
            caller_id=old.caller_id,
            caller_type=old.caller_type,
        )
        scopes = _scopes(asked, by)
        api_keys.retire(conn, key_id, until=now + overlap)
        made = _insert(conn, asked, scopes, sent, by=by, now=now)
        assert made is not None, "its name was set free in this transaction"
        api_keys.set_successor(conn, key_id, made.id)
        _log(conn, "key.rotate", made, by, request_id, replaces=key_id, overlap_seconds=int(overlap.total_seconds()))
    return made, key


def revoke(pool: Pool, key_id: str, *, by: Principal, request_id: str | None = None) -> KeyView:
    """End a key. From the commit on no process accepts it (see `pipelines.access`). Revoking again changes nothing.

    Raises:
        NotFound: when there is none with this id.
    """
    with operator_transaction(pool) as conn:
        before = api_keys.find(conn, key_id, lock=True)
        if before is None:
            raise NotFound(f"there is no key {key_id!r}")
        if before.revoked_at is not None:
            return before
        revoked = api_keys.revoke(conn, key_id, by=by.name, now=utcnow())
        assert revoked is not None
        _log(conn, "key.revoke", revoked, by, request_id)
        return revoked


def show(pool: Pool, key_id: str) -> KeyView:
    """One key.

    Raises:
        NotFound: when there is none with this id.
    """
    with operator_transaction(pool) as conn:
        found = api_keys.find(conn, key_id)
    if found is None:
        raise NotFound(f"there is no key {key_id!r}")
    return found


def list_keys(
    pool: Pool,
    *,
    tenant_id: str | None = None,
    operators_only: bool = False,
    include_over: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[Sequence[KeyView], str | None]:
    """Keys, the newest first, and the cursor of the next page if there is one.

    Raises:
        ValidationFailed: when the cursor is no key's id.
    """
    with operator_transaction(pool) as conn:
        after = api_keys.find(conn, cursor) if cursor is not None else None
        if cursor is not None and after is None:
            raise _invalid("cursor", "Expected the cursor of an earlier page", place="query")
        page = api_keys.list_keys(
            conn,
            tenant_id=tenant_id,
            operators_only=operators_only,
            include_over=include_over,
            after=after,
            limit=limit + 1,
            now=utcnow(),
        )
    return page[:limit], page[limit - 1].id if len(page) > limit else None


def _scopes(asked: NewKey, by: Principal) -> list[Scope]:
    possible = _ORDER if asked.tenant_id is None else _ORDER[:2]
    wanted = set(possible if asked.scopes is None else asked.scopes)
    if not wanted:
        raise _invalid("scopes", f"Expected at least one of {', '.join(possible)}")
    if wanted - set(possible):
        raise _invalid("scopes", "A tenant's key cannot have the scope admin: operators' routes see all tenants")
    if wanted - by.scopes:
        raise Forbidden("nobody can make a key that opens more than their own", code="insufficient_scope")
    return [scope for scope in _ORDER if scope in wanted]


def _insert(
    conn: Connection, asked: NewKey, scopes: Sequence[Scope], sent: SentKey, *, by: Principal, now: datetime
) -> KeyView | None:
    values = {
        **msgspec.structs.asdict(asked),
        "id": sent.id,
        "secret_hash": sent.hash,
        "scopes": list(scopes),
        "created_by": by.name,
        "created_at": now,
    }
    return api_keys.insert(conn, values)


def _log(
    conn: Connection, action: str, key: KeyView, by: Principal, request_id: str | None, **details: str | int
) -> None:
    audit.record(
        conn,
        actor=by.name,
        action=action,
        tenant_id=key.tenant_id,
        target=key.id,
        details={"name": key.name, "scopes": key.scopes, "expires_at": key.expires_at, **details},
        request_id=request_id,
    )


def _invalid(field: str, message: str, place: str = "body") -> ValidationFailed:
    problem: FieldProblem = {"loc": [place, field], "msg": message, "type": "invalid_value"}
    return ValidationFailed(f"The request is not valid: {place}.{field}", details=[problem])
