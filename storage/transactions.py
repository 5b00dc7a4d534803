"""Connections and transactions. Every statement of the server runs inside one of the two kinds opened here.

`tenant_transaction` sees the rows of one tenant, enforced by PostgreSQL: the role `statewave_app` has no right to
bypass the row-level security that migration 0001 forces. `operator_transaction` sees all tenants; only sweeps and
operators ask for it. Role and tenant are set for the transaction alone, so a transaction pooler between the
server and PostgreSQL cannot hand them to somebody else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, LiteralString, Self, TypeAlias
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from storage import messages
from storage.messages import Answers, Beginning, BeginningWithRead
from storage.messages import Connection as Connection
from storage.messages import statements_sent as statements_sent
from storage.standing import before_commit, kept_region, standing

Pool: TypeAlias = ConnectionPool[psycopg.Connection[TupleRow]]

#: What statements raise when the database is away, restarts, or has cut the connection.
DATABASE_AWAY = (psycopg.OperationalError, psycopg.InterfaceError)

#: Seconds a request waits for a connection before it is told that the service is unavailable.
POOL_TIMEOUT_SECONDS = 5.0

#: What `app.tenant_id` says outside of transactions: an id that no tenant can have. PostgreSQL would make it '' after
#: the first transaction, and '' is the default tenant.
_NO_TENANT = "\t"

_REVISION: LiteralString = "; select revision from access_revision"
_STATEMENTS_BEFORE_REVISION = 3

#: Times that a request looks again at keys and regions which change under its hands before it gives up.
_RENEWALS = 10

ONE_MOMENT: LiteralString = " isolation level repeatable read"

_BEGIN: LiteralString = "begin{mode}; set local role {role}; select set_config('app.tenant_id', {tenant}, true)"

#: From here on the rows of tenants that are pinned to another region are gone (migration 0014).
_KEEPING: LiteralString = (
    "; select set_config('app.elsewhere', tenants_elsewhere({region})::text, true); set local role statewave_regional"
)


class CountingCursor(psycopg.Cursor[TupleRow]):
    """A cursor that counts what it sends."""

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        statements_sent.set(statements_sent.get() + 1)
        return super().execute(query, params, prepare=prepare, binary=binary)


def open_pool(
    database_url: str, *, size: int = 10, statement_timeout_seconds: float = 30.0, idle_timeout_seconds: float = 30.0
) -> Pool:
    """Open a pool of at most `size` connections for this process. Open it after a fork, never before.

    Args:
        size: how many connections at most.
        statement_timeout_seconds: longest time of one statement.
        idle_timeout_seconds: longest silence within a transaction. A process that stalls loses its locks with it.

    Raises:
        psycopg_pool.PoolTimeout: when the server does not answer within ten seconds.
    """
    pool: Pool = ConnectionPool(
        database_url,
        open=False,
        min_size=min(2, size),
        max_size=size,
        timeout=POOL_TIMEOUT_SECONDS,
        max_lifetime=1800,
        configure=_configure(statement_timeout_seconds, idle_timeout_seconds),
        kwargs={"autocommit": True, "cursor_factory": CountingCursor, "application_name": "statewave"},
    )
    pool.open(wait=True, timeout=10)
    return pool


def uuid_array(ids: Iterable[UUID]) -> str:
    """A parameter for `%s::uuid[]`. PERF: as text it costs a tenth of what the driver takes to adapt a list."""
    return "{" + ",".join([id.hex for id in ids]) + "}"


def text_array(texts: Iterable[str | None]) -> str:
    """A parameter for `%s::text[]`, for the same reason as `uuid_array`."""
    quoted = ["NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts]
    return "{" + ",".join(quoted) + "}"


class _RawJson(Loader):
    """Hands `json` columns on as the text they are: documents are stored to be returned, not to be looked into."""

    def load(self, data: bytes | bytearray | memoryview) -> msgspec.Raw:
        return msgspec.Raw(bytes(data))


def _configure(statement_timeout_seconds: float, idle_timeout_seconds: float) -> Any:
    def configure(conn: Connection) -> None:
        conn.adapters.register_loader("json", _RawJson)
        conn.execute(
            f"set statement_timeout = {int(statement_timeout_seconds * 1000)};"
            f" set idle_in_transaction_session_timeout = {int(idle_timeout_seconds * 1000)};"
            " set timezone = 'UTC';"
            f" set app.tenant_id = '{_NO_TENANT}'"
        )

    return configure


@contextlib.contextmanager
def tenant_transaction(pool: Pool, tenant_id: str) -> Iterator[Connection]:
    """A transaction that sees and writes rows of `tenant_id` only. Commits on leaving, rolls back on any exception."""
    with _transaction(pool, begin_in("statewave_app", tenant_id)) as conn:
        yield conn


def last_read(conn: Connection, statements: bytes, values: Sequence[str]) -> Answers:
    """The answers of the last statements of a transaction, which travel with its commit: nothing may follow them.

    Args:
        statements: with `%b` where the values go.
    """
    text = messages.with_literals(conn, statements, values)
    # What must be written along with the transaction is written when its block is left, so the commit comes after.
    return messages.send(conn, text if before_commit.get() else text + b"; commit")


@contextlib.contextmanager
def appending_transaction(
    pool: Pool, tenant_id: str, first: LiteralString, conn: Connection | None = None
) -> Iterator[tuple[Connection, Any]]:
    """A tenant's transaction of two round trips: one begins it and reads, one writes and commits.

    Args:
        first: Statements that travel with the beginning, `{tenant}` standing for the tenant; the row of the last is
            handed out, None if there is none.
        conn: A connection to do it on; a transaction that is open on it is committed first.

    Statements inside the block are sent when it is left, together with the commit: their results cannot be read.
    """
    begin = begin_in("statewave_app", tenant_id, then=first)
    answers = _begun(pool, begin, None) if conn is None else _sent(conn, _ending(conn) + begin.text(conn))
    taken = answers.connection
    try:
        row = answers.row(-1)
        try:
            with taken.pipeline():
                yield taken, row
                taken.execute("commit")
        except BaseException:
            with contextlib.suppress(*DATABASE_AWAY):
                taken.execute("rollback")
            raise
    finally:
        if conn is None:
            pool.putconn(taken)


def end_with(conn: Connection, tenant_id: str, statements: bytes, values: Sequence[str]) -> Any:
    """Commit what is open on the connection, and statements in a transaction of their own, in one round trip.

    Args:
        statements: with `%b` where the values go.

    Returns:
        The row of the last of them, committed.
    """
    begin = begin_in("statewave_app", tenant_id).with_first(statements, values)
    return _sent(conn, b"%b%b; commit" % (_ending(conn), begin.text(conn))).row(-2)


def _ending(conn: Connection) -> bytes:
    """What ends the transaction that is open on the connection, if one is."""
    if not is_under_way(conn):
        return b""
    _attend(conn)
    return b"commit; "


def _sent(conn: Connection, statements: bytes) -> Answers:
    """The answers to several statements; after an error no transaction is left open."""
    try:
        return messages.send(conn, statements)
    except BaseException:
        with contextlib.suppress(*DATABASE_AWAY):
            conn.execute("rollback")
        raise


def _attend(conn: Connection) -> None:
    if attend := before_commit.get():
        attend(conn)


@contextlib.contextmanager
def operator_transaction(
    pool: Pool, *, wait_seconds: float | None = None, everywhere: bool = False
) -> Iterator[Connection]:
    """A transaction over all tenants, for sweeps and operators. Requests of operators keep to the server's region.

    Args:
        wait_seconds: how long to wait for a connection, where the pool's own patience is too long.
        everywhere: also tenants of other regions, for finding out whose a row is before it is refused.
    """
    region = None if everywhere else kept_region.get()
    begin = begin_in("statewave_operator", "", then=_KEEPING if region is not None else "", region=region or "")
    with _transaction(pool, begin, wait_seconds) as conn:
        yield conn


@contextlib.contextmanager
def snapshot_transaction(pool: Pool, tenant_id: str) -> Iterator[Connection]:
    """A transaction of a tenant that sees one moment, however long it reads."""
    with _transaction(
        pool, begin_in("statewave_app", tenant_id, " isolation level repeatable read, read only")
    ) as conn:
        yield conn


def begin_in(
    role: str,
    tenant_id: str,
    mode: LiteralString = "",
    *,
    then: LiteralString = "",
    region: str = "",
) -> Beginning:
    # What the request rests on is asked first, so that whatever else is read here is read in good standing.
    revision = _REVISION if standing.get() is not None else ""
    return _composed(role, tenant_id, mode, revision + then, region)


@lru_cache(maxsize=1024)
def _composed(role: str, tenant_id: str, mode: LiteralString, then: LiteralString, region: str) -> Beginning:
    # One simple-protocol message carries all statements: one round trip instead of three.
    text = sql.SQL(_BEGIN + then)
    composed = text.format(
        mode=sql.SQL(mode), role=sql.Identifier(role), tenant=sql.Literal(tenant_id), region=sql.Literal(region)
    )
    return Beginning(composed)


@contextlib.contextmanager
def _transaction(
    pool: Pool, begin: Beginning | BeginningWithRead, wait_seconds: float | None = None
) -> Iterator[Connection]:
    with begun_transaction(pool, begin, wait_seconds) as answers:
        yield answers.connection


@contextlib.contextmanager
def begun_transaction(
    pool: Pool, begin: Beginning | BeginningWithRead, wait_seconds: float | None = None
) -> Iterator[Answers]:
    """The transaction, with the answers of the statements that began it."""
    answers = _begun_in_good_standing(pool, begin, wait_seconds)
    conn = answers.connection
    try:
        try:
            yield answers
            is_open = is_under_way(conn)
            if is_open:
                _attend(conn)
        except BaseException:
            with contextlib.suppress(*DATABASE_AWAY):
                conn.execute("rollback")
            raise
        if is_open:  # else it went with the last statement
            messages.send(conn, b"commit")
    finally:
        pool.putconn(conn)


def is_under_way(conn: Connection) -> bool:
    """Whether a transaction has to be ended on the connection: whoever had something to add may have done that."""
    return conn.pgconn.transaction_status != TransactionStatus.IDLE


def _begun_in_good_standing(pool: Pool, begin: Beginning | BeginningWithRead, wait_seconds: float | None) -> Answers:
    """The answers of a connection on which the transaction has begun, while what let the request in still holds."""
    holder = standing.get()
    if holder is None:
        return _begun(pool, begin, wait_seconds)
    for _ in range(_RENEWALS):
        answers = _begun(pool, begin, wait_seconds)
        row = answers.row(_STATEMENTS_BEFORE_REVISION)
        if row is not None and row[0] == holder.revision:
            holder.is_confirmed = True
            return answers
        conn = answers.connection
        with contextlib.suppress(*DATABASE_AWAY):
            conn.execute("rollback")
        pool.putconn(conn)
        # Renewing reads in a transaction of its own, which must not ask the same question.
        token = standing.set(None)
        try:
            holder.renew()
        finally:
            standing.reset(token)
    raise psycopg.OperationalError("keys change faster than they can be checked")


def _begun(pool: Pool, begin: Beginning | BeginningWithRead, wait_seconds: float | None) -> Answers:
    """The answers of a connection on which the transaction has begun. One that died while it lay idle is replaced.

    After a restart of the database every idle connection is dead; nothing was sent on them yet, so another one can
    be taken without asking whether the first did anything.
    """
    for _ in range(pool.max_size):
        conn = pool.getconn(wait_seconds)
        try:
            return messages.send(conn, begin.text(conn))
        except BaseException as ex:
            is_dead = conn.closed and isinstance(ex, DATABASE_AWAY)
            pool.putconn(conn)
            if not is_dead:
                raise
    raise psycopg.OperationalError("no connection to the database survived")
