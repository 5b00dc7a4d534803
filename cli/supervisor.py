"""Runs parts side by side, starts again what crashes, and always stops everything it started.

Stopping goes from the newest part to the oldest, each with a deadline and then SIGKILL for its whole process group, so
that the databases outlive those who write to them. Signals only raise a flag; no step waits without looking at it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from cli.console import Console
from storage.children import Cancelled, Child, StartFailed

#: A part that crashes this often within the window is beyond restarting.
CRASHES_AT_MOST = 5
CRASH_WINDOW_SECONDS = 60.0

#: Pause before the first restart; it doubles with each further crash within the window.
BACKOFF_SECONDS = 0.5
BACKOFF_AT_MOST_SECONDS = 8.0

#: What a part still gets when the user insists with a second Ctrl-C.
IMPATIENT_GRACE_SECONDS = 0.5

_TICK_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Abandoned(Exception):
    """A part could not be kept running; the message says which and what to look at."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One part: how to start it, and its life so far.

    `start` returns the running child, ready for those that come after it. `holds_data` parts are never hurried
    with SIGKILL by an impatient user: a database that is shot must recover at its next start.
    """

    name: str
    start: Callable[[], Child]
    holds_data: bool = False
    child: Child | None = None
    crashes: list[float] = field(default_factory=list)
    restart_at: float | None = None


class Supervisor:
    """Keeps an ordered list of parts running until told to stop."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts: list[Part] = []
        self._stop_asked = False
        self._hurry_asked = False

    @property
    def is_stopping(self) -> bool:
        """Whether a signal asked us to stop."""
        return self._stop_asked

    def catch_signals(self) -> None:
        """From here on, Ctrl-C, SIGTERM and a closed terminal ask for a stop instead of ending us."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def start(self, part: Part) -> None:
        """Start one more part.

        Raises:
            StartFailed: when it does not start.
            Cancelled: when a stop was asked for before it was ready.
        """
        if self.is_stopping:
            raise Cancelled
        self._parts.append(part)
        part.child = part.start()

    def run_to_end(self, child: Child) -> int:
        """Run a child that ends by itself; its exit code.

        Raises:
            Cancelled: when a stop was asked for; the child is ended.
        """
        child.start()
        try:
            while (code := child.poll()) is None:
                self._pause()
            return code
        finally:
            child.kill()

    def watch(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Start crashed parts again until a stop is asked for. `on_tick` is called many times a second.

        Raises:
            Abandoned: when a part crashes again and again.
        """
        try:
            while True:
                for part in self._parts:
                    self._look_after(part)
                on_tick()
                self._pause()
        except Cancelled:
            return

    def stop_all(self) -> None:
        """Stop every part, newest first; those without data all at once. Never raises, never waits for ever."""
        if self._parts:
            self._console.say("Stopping ... (Ctrl-C again to hurry)")
        for part in self._parts:
            if part.child is not None and not part.holds_data:
                part.child.request_stop()
        for part in reversed(self._parts):
            if part.child is None:
                continue
            if part.holds_data:
                part.child.request_stop()
            if not self._ends_in_time(part, part.child):
                self._console.say(f"{part.name} did not stop in time and was killed.")
            part.child.kill()
        self._parts.clear()

    def _ends_in_time(self, part: Part, child: Child) -> bool:
        began = time.monotonic()
        while child.poll() is None:
            is_hurried = self._hurry_asked and not part.holds_data
            grace = min(IMPATIENT_GRACE_SECONDS, child.grace_seconds) if is_hurried else child.grace_seconds
            if time.monotonic() - began > grace:
                return False
            time.sleep(_TICK_SECONDS)
        return True

    def _look_after(self, part: Part) -> None:
        now = time.monotonic()
        if part.child is not None and (code := part.child.poll()) is not None:
            part.child.kill()  # what it started may have outlived it
            part.child = None
            part.crashes = [at for at in part.crashes if now - at < CRASH_WINDOW_SECONDS] + [now]
            if len(part.crashes) >= CRASHES_AT_MOST:
                raise Abandoned(
                    f"{part.name} ended {len(part.crashes)} times within {CRASH_WINDOW_SECONDS:.0f} s, "
                    f"last with {describe_exit(code)}. Its last lines above say why; `statewave doctor` may know more."
                )
            pause = min(BACKOFF_SECONDS * 2 ** (len(part.crashes) - 1), BACKOFF_AT_MOST_SECONDS)
            part.restart_at = now if part.holds_data else now + pause
            self._console.say(f"{part.name} ended with {describe_exit(code)}; starting it again.")
        if part.child is None and part.restart_at is not None and now >= part.restart_at:
            part.restart_at = None
            try:
                part.child = part.start()
            except StartFailed as ex:
                raise Abandoned(str(ex)) from ex

    def _pause(self) -> None:
        if self.is_stopping:
            raise Cancelled
        time.sleep(_TICK_SECONDS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A closed terminal may tell us several times without meaning more by it.
        self._hurry_asked = self._hurry_asked or (self._stop_asked and number != signal.SIGHUP)
        self._stop_asked = True


def describe_exit(code: int) -> str:
    """`exit code 3`, or the name of the signal that ended the process."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
