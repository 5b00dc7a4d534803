"""The sign of life of a worker process: it beats only while every thread the process depends on is alive.

A worker process that dies ends its parent, which every orchestrator sees. What nobody would see is a process that lives
on with a thread missing: Dramatiq never replaces an actor thread that an exception ended at the wrong moment, nor a
consumer; such a process holds messages and does nothing with them.
"""

from __future__ import annotations

import threading
from pathlib import Path

import dramatiq
import structlog

from config.settings import load_settings
from storage import pulses

log = structlog.get_logger()

#: The part's name in the files.
PART = "worker"

#: Threads of our own that must live, by name.
COMPANIONS = ("relay", "lease-keeper")


class Pulse(threading.Thread):
    """Beats for one worker process until it is stopped."""

    def __init__(self, worker: dramatiq.Worker, data_dir: Path) -> None:
        super().__init__(name="pulse", daemon=True)
        self._worker = worker
        self._data_dir = data_dir
        self._stopped = threading.Event()
        self._leaving = False

    def run(self) -> None:
        self.beat()
        while not self._stopped.wait(pulses.BEAT_SECONDS):
            self.beat()

    def beat(self) -> None:
        """Beat once, unless something is missing."""
        missing = [] if self._leaving else missing_threads(self._worker)
        if missing:
            log.error("threads are gone: this process asks to be restarted", threads=missing)
        else:
            pulses.beat(self._data_dir, PART)

    def leave(self) -> None:
        """From now on threads end because they are told to."""
        self._leaving = True

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()
        self.join()
        pulses.end(self._data_dir, PART)


class WorkerPulse(dramatiq.Middleware):
    """Starts the pulse with the worker and ends it after the worker's last thread.

    It belongs before `ProcessServices`: of hooks named `after`, Dramatiq calls the last middleware's first, and the
    threads that the pulse looks for start there.
    """

    def __init__(self) -> None:
        self._pulse: Pulse | None = None

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        self._pulse = Pulse(worker, Path(load_settings().data_dir))
        self._pulse.start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._pulse is not None:
            self._pulse.leave()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._pulse is not None:
            self._pulse.stop()


def missing_threads(worker: dramatiq.Worker) -> list[str]:
    """What this process depends on and has no more; empty when all is well."""
    missing = [f"consumer of {queue}" for queue, thread in worker.consumers.items() if not thread.is_alive()]
    dead = sum(not thread.is_alive() for thread in worker.workers)
    if dead:
        missing.append(f"{dead} of {len(worker.workers)} actor threads")
    alive = {thread.name for thread in threading.enumerate()}
    return missing + [name for name in COMPANIONS if name not in alive]
