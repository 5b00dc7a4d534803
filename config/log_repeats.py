"""Keeps a log readable while a server is away: what is then said many times a second is said once in a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

#: How the events begin that come from loops which try again and again; all other events are always let through.
SAID_IN_LOOPS = (
    "Consumer encountered a connection error",
    "Restarting consumer in",
    "discarding closed connection",
    "error connecting in",
    "provider desk has no broker",
    "relay pauses",
    "Redis is away",
)

#: Seconds in which such an event is let through once.
ONCE_IN_SECONDS = 10.0


class Repeats(logging.Filter):
    """Lets such an event through once in a while, with the number of those left out in its field `repeated`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        #: By beginning: when it was said last, and how often it was left out since.
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        event = _event(record)
        beginning = next((words for words in SAID_IN_LOOPS if event.startswith(words)), None)
        if beginning is None:
            return True
        with self._lock:
            now = self._clock()
            said, left_out = self._said.get(beginning, (-ONCE_IN_SECONDS, 0))
            if now - said < ONCE_IN_SECONDS:
                self._said[beginning] = (said, left_out + 1)
                return False
            self._said[beginning] = (now, 0)
        if left_out:
            fields = record.msg if isinstance(record.msg, dict) else record.__dict__
            fields["repeated"] = left_out
        return True


def _event(record: logging.LogRecord) -> str:
    # Events of our own carry their fields in place of a message.
    message: Any = record.msg
    return str(message.get("event", "")) if isinstance(message, dict) else str(message)
