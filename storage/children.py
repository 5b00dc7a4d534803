"""Child processes that never outlive us.

Each child leads its own session, so a Ctrl-C in the terminal reaches it once, from us, and its whole process group can
be ended with it. A guardian process (`storage.guardian`) ends the children when we are killed ourselves.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from storage.system_user import credentials

#: A log file is set aside when it is larger than this at start, in bytes.
LOG_ROTATE_BYTES = 10 * 1024 * 1024

_POLL_SECONDS = 0.02


class StartFailed(Exception):
    """A process we need did not start; the message says why and what to do."""


class Cancelled(Exception):
    """Starting was given up because a stop was asked for."""


@dataclass(slots=True, kw_only=True)
class Child:
    """One process: how it is started, how it is stopped, and its state. Not to be shared between threads.

    Output goes to `log_path`, else line by line to `on_line`, else where our own goes.
    """

    name: str
    argv: Sequence[str]
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0
    environ: Mapping[str, str] | None = None
    user: str | None = None
    cwd: Path | None = None
    log_path: Path | None = None
    on_line: Callable[[str], None] | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _pump: threading.Thread | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process.

        Raises:
            StartFailed: when its program cannot be run.
        """
        output: int | IO[bytes] | None = None
        if self.log_path is not None:
            output = open_log(self.log_path)
        elif self.on_line is not None:
            output = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                env=None if self.environ is None else dict(self.environ),
                cwd=self.cwd,
                start_new_session=True,
                **credentials(self.user),
            )
        except OSError as ex:
            raise StartFailed(f"{self.name} cannot be run: {ex}") from ex
        finally:
            if self.log_path is not None:
                output.close()  # type: ignore[union-attr]
        _guardian().watch(self._process.pid, self.stop_signal, self.grace_seconds)
        if self.on_line is not None and self.log_path is None:
            self._pump = threading.Thread(target=self._forward, args=(self.on_line,), daemon=True)
            self._pump.start()

    def poll(self) -> int | None:
        """The exit code once the process has ended (negative: the signal that ended it), `None` while it runs."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float) -> int | None:
        """Wait up to `seconds` for the end; the exit code, or `None` when it still runs."""
        if self._process is None:
            return None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def request_stop(self) -> None:
        """Send the stop signal without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)

    def kill(self) -> None:
        """End the process and all it started, now, and forget them."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        _guardian().forget(self._process.pid)
        if self._pump is not None:
            # A grandchild that left the group could hold the pipe open for ever: do not wait for the end of it.
            self._pump.join(timeout=1)

    def stop(self, grace_seconds: float | None = None) -> bool:
        """Stop the process and whatever it left behind; whether it ended by itself in time."""
        self.request_stop()
        ended = self.wait(self.grace_seconds if grace_seconds is None else grace_seconds) is not None
        self.kill()
        return ended

    def _forward(self, on_line: Callable[[str], None]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                on_line(line.decode(errors="replace").rstrip("\n"))


def wait_until(
    ready: Callable[[], bool], child: Child, *, seconds: float, cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Wait until `ready()` is true while `child` runs.

    Raises:
        StartFailed: when the child ends, or is not ready in time.
        Cancelled: when `cancelled()` turns true.
    """
    deadline = time.monotonic() + seconds
    hint = f"; see {child.log_path}" if child.log_path else ""
    while not ready():
        if cancelled():
            raise Cancelled
        code = child.poll()
        if code is not None:
            raise StartFailed(f"{child.name} ended with code {code} while starting{hint}{last_lines(child.log_path)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{child.name} was not ready within {seconds:.0f} s{hint}{last_lines(child.log_path)}")
        time.sleep(_POLL_SECONDS)


def end_leftover(pid_file: Path, program: str, stop_signal: signal.Signals, *, seconds: float = 20.0) -> None:
    """End the server that a killed predecessor left running on our files.

    The pid may long belong to somebody else (pids start again from 1 in every container), so it is believed only
    when that process runs `program`. A stranger's pid is removed with its file, or the server would not start beside
    it; that of a dead process stays, because PostgreSQL finds the shared memory to clean up by it.

    Raises:
        StartFailed: when it does not end.
    """
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + seconds
    signalled = False
    while program in (running := command_line(pid)):
        if not signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
            signalled = True
        if time.monotonic() > deadline:
            raise StartFailed(
                f"process {pid} ({program}) of an earlier run still uses {pid_file.parent} and does not end: "
                f"end it with `kill -9 {pid}`"
            )
        time.sleep(_POLL_SECONDS)
    if running:
        pid_file.unlink(missing_ok=True)


def command_line(pid: int) -> str:
    """The command line of a process; empty when there is none, or only its zombie."""
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; one that has grown large is set aside as `<name>.1` first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_ROTATE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def last_lines(path: Path | None, count: int = 5) -> str:
    """The end of a log, to be appended to a message; empty when there is none."""
    if path is None or not path.exists():
        return ""
    lines = path.read_text(errors="replace").splitlines()[-count:]
    return "".join(f"\n    {line}" for line in lines)


class _Guardian:
    """The line to our guardian process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        script = Path(__file__).with_name("guardian.py")
        self._process = subprocess.Popen(
            [sys.executable, "-E", "-S", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Let the guardian end; there is nothing left to guard."""
        if self.owner == os.getpid():
            with contextlib.suppress(OSError):
                self._process.communicate(timeout=5)

    def watch(self, group: int, stop_signal: signal.Signals, grace_seconds: float) -> None:
        self._say(f"watch {group} {int(stop_signal)} {grace_seconds}\n")

    def forget(self, group: int) -> None:
        self._say(f"forget {group}\n")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


_the_guardian: _Guardian | None = None


def _guardian() -> _Guardian:
    global _the_guardian
    if _the_guardian is None or _the_guardian.owner != os.getpid():
        _the_guardian = _Guardian()
        atexit.register(_the_guardian.close)
    return _the_guardian
