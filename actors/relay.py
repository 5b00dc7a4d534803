"""The relay: sends a message for every run that is due and that nobody holds.

This is what makes Redis expendable. Whether a wake-up was never sent, was lost with the broker, or belonged to a
worker that died: the run's row is still due, and the next sweep sends another message. Several relays may run;
each due run is handed to one of them.

A transaction that makes a run due announces it (`storage.run_dispatch.announce`), which wakes the relay at once; for
runs that become due later it sleeps until then. The sweep of every second is the safety net.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable

import psycopg
import structlog
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

from actors.pace import Pace
from actors.wake import send
from pipelines import dispatch
from pipelines.dispatch import Turns
from pipelines.services import Services
from storage.run_dispatch import CHANNEL
from storage.transactions import DATABASE_AWAY

log = structlog.get_logger()

#: Seconds between sweeps at most.
SWEEP_SECONDS = 1.0

#: Seconds between sweeps of a queue that has more due runs than the workers were given.
BUSY_SECONDS = 0.05

#: Seconds between sweeps at least: announcements of many requests are answered by one sweep.
PAUSE_SECONDS = 0.01

#: Seconds to wait after a service did not answer.
RECOVERY_SECONDS = 0.5


class Relay(threading.Thread):
    """Hands out the due runs of the queues this process serves, until it is stopped."""

    def __init__(
        self, services: Callable[[], Services], broker: RedisBroker, queues: Iterable[str], *, threads: int
    ) -> None:
        super().__init__(name="relay", daemon=True)
        self.pace = Pace(at_least=threads)
        self._services = services
        self._broker = broker
        self._turns = {queue: Turns() for queue in sorted(queues)}
        self._stopped = threading.Event()
        self._bell_out, self._bell_in = os.pipe()
        os.set_blocking(self._bell_in, False)
        os.set_blocking(self._bell_out, False)

    @property
    def queues(self) -> list[str]:
        return list(self._turns)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._serve()
            except (*DATABASE_AWAY, RedisError, OSError) as ex:
                log.warning("relay pauses", reason=type(ex).__name__)
                self._stopped.wait(RECOVERY_SECONDS)

    def nudge(self) -> None:
        """Look for due runs soon: a run ended, so there is room for another, perhaps of the same subject."""
        # An error means that it rings already, or that the relay is gone.
        with contextlib.suppress(OSError):
            os.write(self._bell_in, b".")

    def stop(self) -> None:
        """End the thread after the sweep it is in."""
        self._stopped.set()
        self.nudge()

    def _serve(self) -> None:
        services = self._services()
        with psycopg.connect(services.settings.database_url or "", autocommit=True) as listener:
            listener.execute(f"listen {CHANNEL}")
            due, swept = set(self._turns), time.monotonic()
            while not self._stopped.is_set():
                began = time.monotonic()
                busy = {queue for queue in self._turns if queue in due and self._sweep(services, queue)}
                if due == set(self._turns):
                    swept = began
                due = busy | self._wait(listener, self._patience(services, busy), began)
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    due = set(self._turns)

    def _sweep(self, services: Services, queue: str) -> bool:
        """Send messages for what is due, as far as there is room; whether there may be more."""
        room = self.pace.room(waiting=self._waiting(queue))
        if room == 0:
            return True
        handed = dispatch.hand_out(services, queue, self._turns[queue], limit=room)
        for run in handed:
            send(run)
        return len(handed) == room

    def _waiting(self, queue: str) -> int:
        return int(self._broker.client.llen(f"{self._broker.namespace}:{queue}"))

    def _patience(self, services: Services, busy: set[str]) -> float:
        if busy:
            return BUSY_SECONDS
        soonest = dispatch.seconds_until_next(services, self.queues)
        return SWEEP_SECONDS if soonest is None else min(SWEEP_SECONDS, max(soonest, 0.0))

    def _wait(self, listener: psycopg.Connection[tuple[object, ...]], seconds: float, began: float) -> set[str]:
        """Sleep until something is announced, a run ended, or the time is over; the queues to look at then."""
        readable, _, _ = select.select([listener.fileno(), self._bell_out], [], [], seconds)
        pause = PAUSE_SECONDS if listener.fileno() in readable else BUSY_SECONDS
        if readable:
            self._stopped.wait(max(began + pause - time.monotonic(), 0.0))
        announced = {notification.payload for notification in listener.notifies(timeout=0)}
        if self._bell_out in readable:
            os.read(self._bell_out, 4096)
            return set(self._turns)
        return announced & self._turns.keys() if readable else set(self._turns)


def relay_once(services: Services, broker_queues: Iterable[str], *, limit: int) -> int:
    """Hand out due runs once, on any queue: for queues whose own workers are gone.

    Returns:
        How many runs were handed out.
    """
    sent = 0
    for queue in broker_queues:
        for run in dispatch.hand_out(services, queue, Turns(), limit=limit):
            send(run)
            sent += 1
    return sent
