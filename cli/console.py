"""The terminal of the supervisor: its own words and, each with its name in front, those of its children."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TextIO

#: ANSI colours of the names, given out in turn.
COLOURS = (36, 32, 33, 35, 34, 31)

NAME_WIDTH = 9


class Console:
    """Writes whole lines from any thread. A terminal that went away is no reason to stop anything."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._colours: dict[str, int] = {}
        self._coloured = self._stream.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str) -> None:
        """Write lines of our own."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    def line(self, name: str, text: str) -> None:
        """Write one line that a child wrote."""
        label = f"{name:<{NAME_WIDTH}}|"
        if self._coloured:
            colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
            label = f"\x1b[{colour}m{label}\x1b[0m"
        self.say(f"{label} {text}")
