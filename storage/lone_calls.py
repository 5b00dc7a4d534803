"""Transactions of one round trip: a call of a function that takes role and tenant by itself, and commits as it ends.

A transaction of several statements is begun and committed in round trips of its own, each of which gives the
interpreter's lock away and queues for it. What requests do most is worth a function.
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg

from storage.standing import before_commit, standing
from storage.transactions import Connection, Pool


def call_alone(pool: Pool, call: LiteralString, parameters: Mapping[str, object]) -> Any:
    """Make a call that is a transaction; the value it returns.

    Args:
        call: a `select` of one value, which is null if the function left everything undone: because it takes more than
            one call, or because `%(revision)s` is not null and not the access revision any more. Then the caller has
            to open a transaction, which sees to either.

    Raises:
        psycopg.OperationalError: when the connection broke. Nobody can tell whether the call was carried out.
    """
    if before_commit.get() is not None:
        return None
    holder = standing.get()
    conn = _living(pool)
    try:
        row = conn.execute(call, {**parameters, "revision": holder.revision if holder else None}).fetchone()
    finally:
        pool.putconn(conn)
    value = row[0] if row else None
    if holder is not None and value is not None:
        holder.is_confirmed = True
    return value


def _living(pool: Pool) -> Connection:
    """A connection that nobody has closed while it lay idle.

    A call must not be sent twice, so what died unseen has to be found before: as the end of the stream, or as words of
    farewell, on a line on which nobody has asked anything.
    """
    for _ in range(pool.max_size):
        conn = pool.getconn()
        if not _has_unread(conn):
            return conn
        conn.close()
        pool.putconn(conn)
    raise psycopg.OperationalError("no connection to the database survived")


def _has_unread(conn: Connection) -> bool:
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))
