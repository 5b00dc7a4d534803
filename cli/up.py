"""`statewave up`: the whole server in one terminal."""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli.console import Console
from cli.process import require_embedding_model, require_templates, use_utc
from cli.supervisor import Abandoned, Part, Supervisor
from config.settings import Settings, load_settings, variable
from storage.children import Cancelled, Child, StartFailed
from storage.embedded_postgres import EmbeddedPostgres
from storage.embedded_redis import EmbeddedRedis

#: Time the parts get to finish what they are at when all is stopped.
GRACE_SECONDS = 10.0

#: Seconds between looks at `/readyz`, and until the first word about what is missing.
READY_POLL_SECONDS = 0.1
IMPATIENCE_SECONDS = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address of the API (STATEWAVE_HOST)")
    parser.add_argument("--port", type=int, help="port of the API (STATEWAVE_PORT)")
    parser.add_argument("--data-dir", help="folder of the embedded servers (STATEWAVE_DATA_DIR)")


def run(arguments: argparse.Namespace) -> int:
    """Run everything until Ctrl-C; 0 when it was asked to stop, 1 when it had to give up."""
    began = time.monotonic()
    for name in ("host", "port", "data_dir"):
        if getattr(arguments, name) is not None:
            os.environ[variable(name)] = str(getattr(arguments, name))
    settings = load_settings()
    require_templates(settings)
    require_embedding_model(settings)
    use_utc()
    data_dir = Path(settings.data_dir).resolve()
    console = Console()
    supervisor = Supervisor(console)
    with exclusive(data_dir):
        require_free_port(settings.host, settings.port)
        supervisor.catch_signals()
        try:
            environ = start_databases(supervisor, settings, data_dir, console)
            migrate(supervisor, environ, console)
            start_parts(supervisor, environ, console)
            supervisor.watch(Announcement(settings, environ, data_dir, console, began).tick)
        except Cancelled:
            pass
        except (Abandoned, StartFailed) as ex:
            console.say(f"statewave up: {ex}")
            return 1
        finally:
            supervisor.stop_all()
    console.say("Stopped.")
    return 0


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for this process alone.

    Raises:
        StartFailed: when another `statewave up` holds it, or it cannot be written.
    """
    path = data_dir / "lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as ex:
        raise StartFailed(f"{data_dir} cannot be written ({ex}); set STATEWAVE_DATA_DIR to a folder that can") from ex
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StartFailed(
                f"another `statewave up` (process {holder}) already runs on {data_dir}. Stop it, or give this one "
                "its own STATEWAVE_DATA_DIR and STATEWAVE_PORT"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def require_free_port(host: str, port: int) -> None:
    """Refuse to start what could not listen.

    Raises:
        StartFailed: when the address cannot be bound, with the reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as ex:
            reason = "is in use by another program" if ex.errno == errno.EADDRINUSE else f"cannot be used ({ex})"
            raise StartFailed(
                f"{host} port {port} {reason}: stop what uses it, or choose another with STATEWAVE_PORT"
            ) from ex


def start_databases(supervisor: Supervisor, settings: Settings, data_dir: Path, console: Console) -> Mapping[str, str]:
    """Start what no address is given for; the environment that leads the other parts to both."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", variable("data_dir"): str(data_dir)}
    environ.setdefault("dramatiq_worker_timeout", "100")
    if settings.database_url is None:
        postgres = EmbeddedPostgres(data_dir)
        if not postgres.data.exists():
            console.say(f"Creating the database in {data_dir} ...")
        supervisor.start(Part(name="postgres", start=lambda: _start(postgres, supervisor), holds_data=True))
        for notice in postgres.notices:
            console.say(notice)
        environ[variable("database_url")] = postgres.url()
    if settings.redis_url is None:
        redis = EmbeddedRedis(data_dir)
        supervisor.start(Part(name="redis", start=lambda: _start(redis, supervisor), holds_data=True))
        environ[variable("redis_url")] = redis.url
    return environ


def _start(server: EmbeddedPostgres | EmbeddedRedis, supervisor: Supervisor) -> Child:
    try:
        server.start(cancelled=lambda: supervisor.is_stopping)
    except BaseException:
        server.stop()
        raise
    assert server.child is not None
    return server.child


def migrate(supervisor: Supervisor, environ: Mapping[str, str], console: Console) -> None:
    """Bring the schema up to date.

    Raises:
        StartFailed: when that fails; the reason was printed.
    """
    lines: list[str] = []
    code = supervisor.run_to_end(_part("migrate", environ, lines.append))
    for line in lines:
        if code != 0 or line.startswith("applied"):
            console.line("migrate", line)
    if code != 0:
        raise StartFailed("the database could not be migrated")


def start_parts(supervisor: Supervisor, environ: Mapping[str, str], console: Console) -> None:
    """Start the processes that are ours."""
    for name, *arguments in (["api"], ["worker", "--shutdown-seconds", str(GRACE_SECONDS - 2)], ["scheduler"]):

        def start(name: str = name, arguments: list[str] = arguments) -> Child:
            child = _part(name, environ, lambda line: console.line(name, line), *arguments)
            child.start()
            return child

        supervisor.start(Part(name=name, start=start))


def _part(name: str, environ: Mapping[str, str], on_line: Callable[[str], None], *arguments: str) -> Child:
    return Child(
        name=name,
        argv=[sys.executable, "-m", "cli.main", name, *arguments],
        grace_seconds=GRACE_SECONDS,
        environ=environ,
        on_line=on_line,
    )


class Announcement:
    """Says once what is where, as soon as the API calls itself ready."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], data_dir: Path, console: Console, began: float
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._data_dir = data_dir
        self._console = console
        self._began = began
        self._next_look = 0.0
        self._is_made = False
        self._complain_at = began + IMPATIENCE_SECONDS
        host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
        self.base_url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"

    def tick(self) -> None:
        now = time.monotonic()
        if self._is_made or now < self._next_look:
            return
        self._next_look = now + READY_POLL_SECONDS
        answer = readiness(self.base_url)
        if answer is None:
            self._console.say(self._block(now - self._began))
            self._is_made = True
        elif now > self._complain_at:
            self._console.say(f"Not ready yet: {answer}")
            self._complain_at = now + IMPATIENCE_SECONDS

    def _block(self, seconds: float) -> str:
        settings = self._settings
        embedded = [
            f"{name} {self._data_dir / 'logs' / (name + '.log')}"
            for name, address in (("postgres", settings.database_url), ("redis", settings.redis_url))
            if address is None
        ]
        rows = {
            "API": self.base_url,
            "docs": f"{self.base_url}/docs",
            "database": without_password(self._environ[variable("database_url")]),
            "Redis": without_password(self._environ[variable("redis_url")]),
            "data": str(self._data_dir),
            "logs": ", ".join(["this terminal", *embedded]),
            "access": "X-API-Key needed" if settings.api_key else "open, no key",
            "stop": "Ctrl-C",
        }
        lines = [f"    {name:<9} {value}" for name, value in rows.items()]
        return "\n".join(["", f"Statewave is ready ({seconds:.1f} s)", "", *lines, ""])


def readiness(base_url: str) -> str | None:
    """What `/readyz` lacks, in words; `None` when it is ready."""
    try:
        with urllib.request.urlopen(f"{base_url}/readyz", timeout=2) as response:
            return None if response.status == 200 else f"status {response.status}"
    except urllib.error.HTTPError as ex:
        body = ex.read().decode(errors="replace")
        try:
            return json.dumps(json.loads(body))
        except ValueError:
            return f"status {ex.code}"
    except OSError as ex:
        return f"the API does not answer yet ({ex})"


def without_password(address: str) -> str:
    """An address fit to be shown."""
    return re.sub(r"(://[^\s:/@]*):[^\s/@]*@", r"\1:***@", address)
