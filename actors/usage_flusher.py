"""Writes what a process counted, every few seconds and when it stops."""

from __future__ import annotations

import threading

import structlog

from pipelines.quotas import write_usage
from pipelines.services import Services
from storage.transactions import DATABASE_AWAY

log = structlog.get_logger()

#: Seconds between two writes: what a process that is killed loses at most, and how soon a tenant's limits change.
FLUSH_SECONDS = 5.0


class UsageFlusher(threading.Thread):
    """Flushes one process's counts until it is stopped."""

    def __init__(self, services: Services) -> None:
        super().__init__(name="usage-flusher", daemon=True)
        self._services = services
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(FLUSH_SECONDS):
            self._flush()

    def stop(self) -> None:
        """Write what is left. Call it before the pool is closed."""
        self._stopped.set()
        self.join()
        self._flush()

    def _flush(self) -> None:
        try:
            write_usage(self._services)
        except DATABASE_AWAY as ex:
            log.warning("usage is not written yet", reason=type(ex).__name__)
        except Exception as ex:
            # The thread must live: without it nothing would be counted any more.
            log.error("usage is not written", error=type(ex).__name__)
