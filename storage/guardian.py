"""Ends the process groups entrusted to it when the process that started it is gone, however it went.

A script of its own, run by `storage.children` with its standard input on a pipe. The kernel closes that pipe when
the parent ends, also after `kill -9`, and on every system we run on; a death signal (`PR_SET_PDEATHSIG`) knows only
Linux, misses grandchildren and is lost where a child changes its user.

Protocol, one line each: `watch <group> <signal> <grace seconds>` and `forget <group>`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

POLL_SECONDS = 0.02


def read_wards(lines: Iterable[str]) -> dict[int, tuple[int, float]]:
    """Follow the parent's lines until it closes the pipe; what is left over is still running."""
    wards: dict[int, tuple[int, float]] = {}
    for line in lines:
        verb, group, *rest = line.split()
        if verb == "watch":
            wards[int(group)] = (int(rest[0]), float(rest[1]))
        else:
            wards.pop(int(group), None)
    return wards


def is_running(pid: int) -> bool:
    """Whether the process still works; a zombie that nobody collects does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # no /proc on this system, or gone this moment
        return not Path("/proc/self").is_dir()


def end_group(group: int, stop_signal: int, grace_seconds: float) -> None:
    """Ask the group's leader to stop, wait for it, then kill whatever is left of the group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, stop_signal)
    deadline = time.monotonic() + grace_seconds
    while is_running(group) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wards = read_wards(sys.stdin)
    # Started last, stopped first: workers before the database they write to.
    for group in reversed(wards):
        end_group(group, *wards[group])


if __name__ == "__main__":
    main()
