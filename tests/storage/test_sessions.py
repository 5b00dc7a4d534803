"""A process that stops in the middle of a message must not keep its locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from storage.sessions import end_stalled
from storage.transactions import Pool, operator_transaction
from tests.fixtures.processes import eventually

NOW = timedelta(0)

#: More than any socket buffers.
LARGE = 20_000_000


@contextmanager
def session(database: str, name: str = "statewave") -> Iterator[psycopg.Connection[Any]]:
    conn = psycopg.connect(database, autocommit=True, application_name=name)
    yield conn
    conn.close()


def stall(conn: psycopg.Connection[Any], statement: bytes, *parameters: bytes) -> None:
    """Take a lock, begin to say something, and fall silent as a stopped process does."""
    conn.execute("begin; lock table subjects in access exclusive mode")
    conn.pgconn.nonblocking = 1
    conn.pgconn.send_query_params(statement, list(parameters), param_formats=[1] * len(parameters))
    conn.pgconn.flush()


def waits_for_client(pool: Pool, conn: psycopg.Connection[Any]) -> bool:
    return what_it_does(pool, conn) == ("active", "Client")


def what_it_does(pool: Pool, conn: psycopg.Connection[Any]) -> tuple[str, str] | None:
    with pool.connection() as other:
        return other.execute(
            "select state, wait_event_type from pg_stat_activity where pid = %s", (conn.pgconn.backend_pid,)
        ).fetchone()


SPEAKING = (b"select length($1::bytea)", b"x" * LARGE)
LISTENING = (f"select repeat('x', 1000) from generate_series(1, {LARGE // 1000})".encode(),)


@pytest.mark.parametrize("statement", [SPEAKING, LISTENING], ids=["speaking", "listening"])
def test_its_locks_are_free_again(database: str, pool: Pool, statement: tuple[bytes, ...]) -> None:
    with session(database) as stalled:
        stall(stalled, *statement)
        assert eventually(lambda: waits_for_client(pool, stalled))
        assert end_stalled(pool, silent_for=timedelta(hours=1)) == 0, "it may still go on"
        assert end_stalled(pool, silent_for=NOW) == 1
        assert eventually(lambda: what_it_does(pool, stalled) is None)
        with operator_transaction(pool) as conn:
            conn.execute("lock table subjects in row exclusive mode")


def test_sessions_that_wait_for_something_else_go_on(database: str, pool: Pool) -> None:
    with session(database) as idle, session(database, name="psql") as stranger:
        stall(stranger, *SPEAKING)
        assert eventually(lambda: waits_for_client(pool, stranger))
        assert end_stalled(pool, silent_for=NOW) == 0
        assert what_it_does(pool, idle) and what_it_does(pool, stranger)
