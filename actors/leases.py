"""Heartbeats: a thread of its own, on a connection of its own, extends the leases of the runs this process works on.

A process that dies stops its heartbeat with it, and its runs are free again once their leases end. Those of one that
stalls are once its locks go as well: PostgreSQL ends transactions that fall silent between statements, and this thread,
in every process, those that fell silent within one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import structlog

from storage import runs, sessions
from storage.rows import Run
from storage.transactions import DATABASE_AWAY, Pool, operator_transaction

log = structlog.get_logger()

#: Heartbeats per lease: two may be missed before a run is taken over.
BEATS_PER_LEASE = 3


class LeaseKeeper(threading.Thread):
    """Extends the leases of the runs that are held, until it is stopped."""

    def __init__(self, pool: Pool, *, lease_seconds: float) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self.lease = timedelta(seconds=lease_seconds)
        self._pool = pool
        self._held: dict[UUID, Run] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @contextlib.contextmanager
    def holding(self, run: Run) -> Iterator[None]:
        """Keep the lease of `run` alive inside the block."""
        with self._lock:
            self._held[run.id] = run
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(run.id, None)

    def held(self) -> list[Run]:
        """The runs this process works on now."""
        with self._lock:
            return list(self._held.values())

    def run(self) -> None:
        while not self._stopped.wait(self.lease.total_seconds() / BEATS_PER_LEASE):
            self.beat()
            self.free_locks()

    def beat(self) -> None:
        """Extend every lease that is held now."""
        held = self.held()
        if not held:
            return
        try:
            with operator_transaction(self._pool) as conn:
                for run in held:
                    if not runs.extend_lease(conn, run, lease=self.lease):
                        log.info("lease not extended", run_id=str(run.id), fence=run.fence)
        except DATABASE_AWAY:
            log.warning("heartbeat missed", runs=len(held))

    def free_locks(self) -> None:
        """End the database sessions of processes that have been silent within a statement for a whole lease."""
        try:
            if ended := sessions.end_stalled(self._pool, silent_for=self.lease):
                log.warning("sessions of stalled processes ended", sessions=ended)
        except DATABASE_AWAY:
            log.debug("database away")

    def stop(self) -> None:
        """End the thread; leases that are still held run out by themselves."""
        self._stopped.set()
