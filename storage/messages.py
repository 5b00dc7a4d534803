"""Several statements in one message of PostgreSQL's simple protocol: how transactions begin and end.

PERF: without a cursor. It would look for the message among prepared statements, which it cannot be one of, and make
ready to read the answer of each statement: half of the processor time of a round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import Escaping, ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

Connection: TypeAlias = psycopg.Connection[TupleRow]

#: Statements sent since the value was last reset: lets a request report what it cost in round trips.
statements_sent: ContextVar[int] = ContextVar("statements_sent", default=0)

_GOOD = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY})


class Answers:
    """What the statements of a message returned, by their number; from the end if it is negative."""

    __slots__ = ("_results", "_transformer", "connection")

    def __init__(self, connection: Connection, results: Sequence[PGresult]) -> None:
        self.connection = connection
        self._results = results
        self._transformer = Transformer(connection)

    def rows(self, number: int) -> list[tuple[Any, ...]]:
        result = self._results[number]
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def row(self, number: int) -> tuple[Any, ...] | None:
        """The only row, or the first."""
        rows = self.rows(number)
        return rows[0] if rows else None


def send(conn: Connection, statements: bytes) -> Answers:
    """Send statements together and wait for the answers.

    Raises:
        psycopg.Error: of the first statement that fails; those after it are not run.
    """
    statements_sent.set(statements_sent.get() + 1)
    with conn.lock:
        conn.pgconn.send_query(statements)
        results = conn.wait(execute(conn.pgconn))
    for result in results:
        if result.status not in _GOOD:
            raise error_from_result(result, encoding="utf-8")
    return Answers(conn, results)


def with_literals(conn: Connection, statement: bytes, values: Sequence[str]) -> bytes:
    """The statement with a quoted value for each `%b`: the simple protocol has no parameters.

    APPSEC: nothing else may put values into such a statement.
    """
    quote = Escaping(conn.pgconn).escape_literal
    return statement % tuple([quote(value.encode()) for value in values])


class Beginning:
    """Statements that begin a transaction. PERF: their text is put together once, with whichever connection asks first;
    all of them quote alike."""

    __slots__ = ("_composed", "_text")

    def __init__(self, composed: sql.Composed) -> None:
        self._composed = composed
        self._text: bytes | None = None

    def text(self, conn: Connection) -> bytes:
        if self._text is None:
            self._text = self._composed.as_bytes(conn)
        return self._text

    def with_first(self, statement: bytes, values: Sequence[str]) -> BeginningWithRead:
        """The same with one more statement."""
        return BeginningWithRead(self, statement, values)


class BeginningWithRead:
    """The same with a read behind it."""

    __slots__ = ("_begin", "_statement", "_values")

    def __init__(self, begin: Beginning, statement: bytes, values: Sequence[str]) -> None:
        self._begin, self._statement, self._values = begin, statement, values

    def text(self, conn: Connection) -> bytes:
        return self._begin.text(conn) + b"; " + with_literals(conn, self._statement, self._values)
