"""The relay: sends a message for every run that is due and that nobody holds.

This is what makes Redis expendable. Whether a wake-up was never sent, was lost with the broker, or belonged to a
worker that died: the run's row is still due, and the next sweep sends another message. Several relays may run;
each due run is handed to one of them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import psycopg
import structlog
from redis.exceptions import RedisError

from actors.wake import send
from storage import runs
from storage.transactions import Pool, operator_transaction

log = structlog.get_logger()

#: Seconds between sweeps: the longest that a due run waits for its message.
INTERVAL_SECONDS = 0.25

#: A run that is still due after this long is woken again. Shorter sends more duplicates under load, which are
#: harmless; longer makes a lost broker cost more time.
PATIENCE = timedelta(seconds=5)

#: Runs woken per sweep.
BATCH = 500


class Relay(threading.Thread):
    """Sweeps the queues this process serves until it is stopped."""

    def __init__(self, pool: Pool, queues: Sequence[str]) -> None:
        super().__init__(name="relay", daemon=True)
        self._pool = pool
        self._queues = list(queues)
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(INTERVAL_SECONDS):
            try:
                relay_once(self._pool, self._queues)
            except (psycopg.OperationalError, RedisError) as ex:
                log.warning("relay pauses", reason=type(ex).__name__)
                self._stopped.wait(1.0)

    def stop(self) -> None:
        """End the thread after the sweep it is in."""
        self._stopped.set()


def relay_once(pool: Pool, queues: Sequence[str]) -> int:
    """Wake every due run of these queues once.

    Returns:
        How many runs were woken.

    Raises:
        psycopg.OperationalError, redis.exceptions.RedisError: when a service is away. Runs of the batch whose
            message was not sent are woken again after `PATIENCE`.
    """
    with operator_transaction(pool) as conn:
        due = runs.wake_due(conn, queues, patience=PATIENCE, limit=BATCH)
    for run in due:
        send(run)
    return len(due)
