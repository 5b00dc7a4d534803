"""Writing at the end of a tenant's chain: one round trip when nobody else writes, one for all who write together.

A receipt names the hash of the one before it and is signed with that, so a chain is written one receipt after another.
What may not happen is that every one of them waits for the round trips and the commit of all before it. So the threads
of a process that have something for the same chain hand it to the first of them, which signs all of it in a row and
writes it in one transaction; whoever comes meanwhile is in the next one. Nobody is told that a receipt is written
before it is committed.

Between processes nothing is locked in advance. Whoever writes names the end of the chain that it knows, from its last
receipt or from the transaction that its context was read in; if the chain has moved on, nothing is written, and the
answer says where it ends now. Only after a few of these the chain is locked for the time of reading and writing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any

import psycopg

from storage import receipts
from storage.receipts import ChainHead, NewReceipt
from storage.transactions import DATABASE_AWAY, Connection, Pool

#: Completes and signs a receipt behind the end of a chain.
Behind = Callable[[ChainHead], tuple[dict[str, Any], NewReceipt]]

#: Receipts that are written together.
MOST_AT_ONCE = 32
#: Ends of the chain that are tried before it is locked.
ATTEMPTS = 3
#: Tenants whose ends a process remembers.
MOST_ENDS = 4096


@dataclass(frozen=True, slots=True)
class Ending:
    """The transaction that a context was read in, about to end, and the end of the chain as it saw it."""

    conn: Connection
    #: None where the tenant has no receipt yet, or the past was read.
    head: ChainHead | None


@dataclass(slots=True, eq=False)
class _Waiting:
    behind: Behind
    #: Set when it is written, when it failed, or when it is this one's turn to write; None where it need not wait.
    woken: Event | None = None
    written: dict[str, Any] | None = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.written is not None or self.error is not None


class ChainWriter:
    """Writes the receipts of one process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: Of every chain that somebody is writing at: what waits for the next turn.
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._ends: OrderedDict[str, ChainHead] = OrderedDict()

    def write(self, pool: Pool, tenant_id: str, behind: Behind, ending: Ending | None) -> dict[str, Any]:
        """Write one receipt; returns its body once it is committed.

        Args:
            ending: a transaction that may be ended on the way; it is, if this thread writes.

        Raises:
            psycopg.Error: when it could not be written.
        """
        mine = _Waiting(behind)
        with self._lock:
            queue = self._waiting.get(tenant_id)
            if queue is None:
                self._waiting[tenant_id] = deque([mine])
            else:
                mine.woken = Event()
                queue.append(mine)
        if mine.woken is not None:
            mine.woken.wait()
        if not mine.is_done:
            self._write_turn(pool, tenant_id, ending)
        if mine.written is None:
            raise mine.error or AssertionError("a turn ends with a receipt or an error")
        return mine.written

    def _write_turn(self, pool: Pool, tenant_id: str, ending: Ending | None) -> None:
        """Write what waits, and wake up the others: those whose receipts are written, and who writes next."""
        with self._lock:
            queue = self._waiting[tenant_id]
            turn = [queue.popleft() for _ in range(min(len(queue), MOST_AT_ONCE))]
        try:
            self._write_all(pool, tenant_id, turn, ending)
        except BaseException as ex:
            for one in turn:
                if not one.is_done:
                    one.error = ex
        finally:
            with self._lock:
                if not queue:
                    del self._waiting[tenant_id]
                waked = [*turn, queue[0]] if queue else turn
            for one in waked:
                if one.woken is not None:
                    one.woken.set()

    def _write_all(self, pool: Pool, tenant_id: str, turn: Sequence[_Waiting], ending: Ending | None) -> None:
        try:
            self._write_together(pool, tenant_id, turn, ending)
        except DATABASE_AWAY:
            raise
        except psycopg.Error:
            if len(turn) == 1:
                raise
            # One that the database refuses must not cost the others theirs.
            for one in turn:
                if one.error is None:
                    self._write_alone(pool, tenant_id, one)

    def _write_alone(self, pool: Pool, tenant_id: str, one: _Waiting) -> None:
        try:
            self._write_together(pool, tenant_id, [one], None)
        except psycopg.Error as ex:
            one.error = ex

    def _write_together(self, pool: Pool, tenant_id: str, turn: Sequence[_Waiting], ending: Ending | None) -> None:
        head = self._newest_end(tenant_id, ending)
        if ending is not None and head is not None:
            for _ in range(ATTEMPTS):
                bodies, rows = _completed(turn, head)
                if not rows:
                    return
                actual = receipts.append_behind(ending.conn, tenant_id, rows, head)
                if actual is None:
                    self._finish(tenant_id, turn, bodies, rows)
                    return
                head = actual
        with receipts.chain_end(pool, tenant_id, ending.conn if ending else None) as (conn, head):
            bodies, rows = _completed(turn, head)
            for row in rows:
                receipts.append(conn, tenant_id, row)
        self._finish(tenant_id, turn, bodies, rows)

    def _newest_end(self, tenant_id: str, ending: Ending | None) -> ChainHead | None:
        seen = ending.head if ending else None
        with self._lock:
            known = self._ends.get(tenant_id)
        if seen is None or known is None:
            return seen
        return max(seen, known, key=lambda head: head.length)

    def _finish(
        self,
        tenant_id: str,
        turn: Sequence[_Waiting],
        bodies: Sequence[dict[str, Any] | None],
        rows: Sequence[NewReceipt],
    ) -> None:
        for one, body in zip(turn, bodies, strict=True):
            one.written = body
        if not rows:
            return
        with self._lock:
            self._ends[tenant_id] = ChainHead(length=rows[-1].chain_seq, hash=rows[-1].chain_hash)
            self._ends.move_to_end(tenant_id)
            if len(self._ends) > MOST_ENDS:
                self._ends.popitem(last=False)


def _completed(turn: Sequence[_Waiting], head: ChainHead) -> tuple[list[dict[str, Any] | None], list[NewReceipt]]:
    """The bodies, None of those that cannot be written down, and the rows of the others, each behind the one before."""
    bodies: list[dict[str, Any] | None] = []
    rows: list[NewReceipt] = []
    for one in turn:
        try:
            body, row = one.behind(head)
        except Exception as ex:
            one.error = ex
            bodies.append(None)
            continue
        bodies.append(body)
        rows.append(row)
        head = ChainHead(length=row.chain_seq, hash=row.chain_hash)
    return bodies, rows
