"""A server of the benchmark's own: `statewave up` in a temporary folder, on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds until the stack must answer; a first start creates the database.
READY_SECONDS = 90.0
_POLL_SECONDS = 0.02


class StackFailed(Exception):
    """The stack did not start; the text holds the end of what it printed."""


@dataclass(slots=True)
class Stack:
    """A running `statewave up`. `start_seconds` is from its start until `/readyz` said ready."""

    folder: Path
    port: int
    settings: Mapping[str, str]
    start_seconds: float = 0.0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the stack is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            StackFailed: when it ends or is not ready in time.
        """
        environ = {name: value for name, value in os.environ.items() if not name.startswith("STATEWAVE_")}
        environ |= {f"STATEWAVE_{name.upper()}": value for name, value in self.settings.items()}
        argv = [sys.executable, "-m", "cli.main", "up", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        began = time.perf_counter()
        with (self.folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                raise StackFailed(f"the stack did not start:\n{self._last_lines()}")
            time.sleep(_POLL_SECONDS)
        self.start_seconds = time.perf_counter() - began

    def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.HTTPError, OSError):
            return False

    def _last_lines(self) -> str:
        return "\n".join((self.folder / "up.log").read_text(errors="replace").splitlines()[-30:])


@contextmanager
def own_stack(**settings: str) -> Iterator[Stack]:
    """A stack with these settings (named without their prefix), not started yet; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="statewave-bench-"))
    # The embedded database runs as a user of its own when we are root, and must reach its folder.
    folder.chmod(0o755)
    stack = Stack(folder=folder, port=_free_port(), settings=settings)
    try:
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
