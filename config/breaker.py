"""A circuit breaker for a service that requests can do without."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Breaker:
    """Closed while all is well. One failure opens it for a pause; after that one caller tries for all the others.

    Callers who are not let through go on without the service at once, so that a service which does not answer costs
    one of them its timeout in each pause, and not every one.
    """

    def __init__(self, *, pause_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        return self._open_until is not None

    def lets_through(self) -> bool:
        """Whether the caller may try the service; it must then say how it went."""
        if not self.is_open:
            return True
        with self._lock:
            now, until = self._clock(), self._open_until
            if until is not None and now >= until:
                # This caller tries; the others go on without for another pause.
                self._open_until = now + self._pause
            return until is None or now >= until

    def failed(self) -> None:
        """The service did not answer."""
        with self._lock:
            self._open_until = self._clock() + self._pause

    def succeeded(self) -> bool:
        """The service answered. Returns whether it did not before."""
        if not self.is_open:
            return False
        with self._lock:
            was_open, self._open_until = self._open_until is not None, None
        return was_open
