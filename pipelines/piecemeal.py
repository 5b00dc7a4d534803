"""Changing many rows a few at a time, so that nobody waits long for a lock."""

from __future__ import annotations

from collections.abc import Callable

from storage.transactions import Connection, Pool, operator_transaction

#: Rows per transaction.
ROWS = 1000


def piecemeal(pool: Pool, change: Callable[[Connection, int], int]) -> int:
    """Repeat a change, each time in a transaction of its own, until it finds fewer rows than it might have changed.

    Args:
        change: Changes at most so many rows, and says how many.

    Returns:
        How many there were in all.
    """
    total = 0
    while True:
        with operator_transaction(pool) as conn:
            changed = change(conn, ROWS)
        total += changed
        if changed < ROWS:
            return total
