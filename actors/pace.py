"""How much work to put before the workers: enough that they never wait, little enough that order can still change."""

from __future__ import annotations

import threading
import time

#: Seconds of work that may wait on the broker.
AHEAD_SECONDS = 0.25

#: Seconds over which the speed of work is measured.
WINDOW_SECONDS = 1.0


class Pace:
    """Measures how many runs this process ends per second. Shared by its threads."""

    def __init__(self, *, at_least: int) -> None:
        self._at_least = at_least
        self._lock = threading.Lock()
        self._ended = 0
        self._since = time.monotonic()
        self._per_second = 0.0

    def note_end(self) -> None:
        """A run ended."""
        with self._lock:
            self._ended += 1

    def room(self, *, waiting: int) -> int:
        """How many runs more may wait on the broker, where so many are waiting."""
        with self._lock:
            elapsed = time.monotonic() - self._since
            if elapsed >= WINDOW_SECONDS:
                self._per_second = self._ended / elapsed
                self._ended, self._since = 0, time.monotonic()
            wanted = max(self._at_least, int(self._per_second * AHEAD_SECONDS))
        return max(0, wanted - waiting)
