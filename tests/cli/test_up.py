"""`statewave up` as a newcomer meets it: one command, everything runs; one Ctrl-C, nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.up import exclusive, readiness, require_free_port, without_password
from storage.children import StartFailed, command_line
from tests.fixtures.processes import eventually, processes_with
from tests.fixtures.stack import free_port


class Up:
    """A running `statewave up` over a data folder of its own."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, port: int) -> None:
        self.process = process
        self.data_dir = data_dir
        self.base_url = f"http://127.0.0.1:{port}"
        self.lines: list[str] = []

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return
        raise AssertionError(f"{text!r} never came:\n" + "\n".join(self.lines))

    def processes(self) -> list[int]:
        """Everything that belongs to it but itself."""
        return [pid for pid in processes_with(str(self.data_dir)) if pid != self.process.pid]

    def pid_of(self, command: str) -> int | None:
        """The process whose command line contains `command`; the oldest when there are several."""
        found = [pid for pid in self.processes() if command in command_line(pid)]
        return min(found, default=None)

    def finish(self) -> int:
        assert self.process.stdout is not None
        self.lines += [line.rstrip() for line in self.process.stdout]
        return self.process.wait(60)


@contextmanager
def running() -> Iterator[Up]:
    data_dir = Path(tempfile.mkdtemp(prefix="statewave-up-"))
    data_dir.chmod(0o755)
    port = free_port()
    environ = {
        **os.environ,
        "STATEWAVE_DATA_DIR": str(data_dir),
        "STATEWAVE_PORT": str(port),
        "STATEWAVE_API_WORKERS": "1",
    }
    argv = [sys.executable, "-m", "cli.main", "up"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Up(process, data_dir, port)
        finally:
            process.kill()
    assert eventually(lambda: not processes_with(str(data_dir)))
    shutil.rmtree(data_dir)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One running stack for the tests that leave it running."""
    with running() as stack:
        stack.read_until("stop ")
        yield stack


def test_it_tells_what_is_where(up: Up) -> None:
    block = "\n".join(up.lines[-12:])
    for part in (up.base_url, f"{up.base_url}/docs", "postgresql:///statewave?host=", "unix://", str(up.data_dir)):
        assert part in block
    assert readiness(up.base_url) is None


def test_a_second_one_on_the_same_data_is_refused(up: Up) -> None:
    argv = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(up.data_dir), "--port", str(free_port())]
    second = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert f"another `statewave up` (process {up.process.pid}) already runs" in second.stderr


@pytest.mark.parametrize("part", ["gunicorn", "cli.main worker", "cli.main scheduler", "redis-server", "bin/postgres"])
def test_a_killed_part_is_started_again(up: Up, part: str) -> None:
    killed = up.pid_of(part)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    up.read_until("starting it again")
    assert eventually(lambda: up.pid_of(part) not in (None, killed))
    assert eventually(lambda: readiness(up.base_url) is None)


def test_ctrl_c_leaves_nothing_behind_even_when_a_part_hangs() -> None:
    with running() as stack:
        stack.read_until("stop ")
        before = stack.processes()
        assert len(before) >= 5
        scheduler = stack.pid_of("cli.main scheduler")
        assert scheduler is not None
        os.kill(scheduler, signal.SIGSTOP)
        stack.process.send_signal(signal.SIGINT)
        stack.read_until("Stopping")
        stack.process.send_signal(signal.SIGINT)
        assert stack.finish() == 0
        assert stack.lines[-1] == "Stopped."
        assert eventually(lambda: not stack.processes())


def test_ctrl_c_while_it_starts_leaves_nothing_behind() -> None:
    with running() as stack:
        stack.read_until("applied")
        stack.process.send_signal(signal.SIGINT)
        assert stack.finish() == 0
        assert eventually(lambda: not stack.processes())


def test_nothing_is_left_when_it_is_killed() -> None:
    with running() as stack:
        stack.read_until("stop ")
        assert len(stack.processes()) >= 5
        stack.process.kill()
        assert eventually(lambda: not stack.processes(), seconds=60)
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(stack.base_url, timeout=5)


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        argv = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(tmp_path), "--port", str(port)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr
    assert "STATEWAVE_PORT" in done.stderr
    assert not (tmp_path / "postgres").exists()


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(StartFailed, match=f"process {os.getpid()}"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_a_free_port_is_accepted() -> None:
    require_free_port("127.0.0.1", free_port())


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://app:s3cret@db/x", "postgresql://app:***@db/x"),
        ("redis://:s3cret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=0"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown
