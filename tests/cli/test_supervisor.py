"""The supervisor: restarts what crashes, and leaves nothing behind, whatever its parts do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.supervisor import describe_exit
from tests.fixtures.processes import eventually, is_alive

#: Runs parts under a supervisor. Each argument is `name=python code`; a name in capitals holds data.
HARNESS = """
import sys
from cli.console import Console
from cli.supervisor import Abandoned, Part, Supervisor
from storage.children import Child

console = Console()
supervisor = Supervisor(console)
supervisor.catch_signals()

def part(name, code):
    def start():
        child = Child(name=name, argv=[sys.executable, "-uc", code], grace_seconds=float(sys.argv[1]),
                      on_line=lambda line: console.line(name, line))
        child.start()
        console.say(f"started {name} {child.pid}")
        return child
    return Part(name=name, start=start, holds_data=name.isupper())

code = 0
try:
    for argument in sys.argv[2:]:
        supervisor.start(part(*argument.split("=", 1)))
    console.say("running")
    supervisor.watch()
except Abandoned as ex:
    console.say(f"abandoned: {ex}")
    code = 1
finally:
    supervisor.stop_all()
sys.exit(code)
"""

SLEEP = "import time; time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); {SLEEP}"
FORKING = (
    f"import subprocess, sys; print('grandchild', subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid); {SLEEP}"
)
#: Says when it leaves.
POLITE = (
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print('ready'); signal.sigwait({15});"
    "print('leaving')"
)


class Harness:
    """A running supervisor and what it printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        #: Lines that nobody has waited for: a part may speak before the supervisor has said that it started it.
        self._passed: list[str] = []

    def read_until(self, text: str) -> str:
        """The first line that contains `text` and was not returned before; all lines are kept."""
        for line in self._passed:
            if text in line:
                self._passed.remove(line)
                return line
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.rstrip()
            self.lines.append(line)
            if text in line:
                return line
            self._passed.append(line)
        raise AssertionError(f"{text!r} never came: {self.lines}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        assert self.process.stdout is not None
        self.lines += [line.rstrip() for line in self.process.stdout]
        return self.process.wait(60)


@contextmanager
def supervised(*parts: str, grace_seconds: float = 20.0) -> Iterator[Harness]:
    argv = [sys.executable, "-uc", HARNESS, str(grace_seconds), *parts]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Harness(process)
        finally:
            process.kill()


def pid_in(line: str) -> int:
    return int(line.split()[-1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_way_to_ask_for_a_stop_stops_everything(number: signal.Signals) -> None:
    with supervised(f"one={SLEEP}", f"two={FORKING}") as harness:
        pids = [pid_in(harness.read_until(f"started {name}")) for name in ("one", "two")]
        pids.append(pid_in(harness.read_until("grandchild")))
        harness.process.send_signal(number)
        assert harness.finish() == 0
        assert eventually(lambda: not any(is_alive(pid) for pid in pids))


def test_data_is_stopped_after_those_who_write_it() -> None:
    with supervised(f"DATA={POLITE}", f"writer={POLITE}") as harness:
        harness.read_until("ready")
        harness.read_until("ready")
        harness.interrupt()
        assert harness.finish() == 0
        leaving = [line.split()[0] for line in harness.lines if "leaving" in line]
        assert leaving == ["writer", "DATA"]


def test_a_crashed_part_is_started_again_and_what_it_left_behind_is_ended() -> None:
    with supervised(f"part={FORKING}") as harness:
        first = pid_in(harness.read_until("started part"))
        grandchild = pid_in(harness.read_until("grandchild"))
        os.kill(first, signal.SIGKILL)
        harness.read_until("part ended with SIGKILL; starting it again")
        second = pid_in(harness.read_until("started part"))
        assert second != first
        assert is_alive(second)
        assert eventually(lambda: not is_alive(grandchild))
        harness.interrupt()
        assert harness.finish() == 0


def test_a_part_that_crashes_again_and_again_ends_everything_with_its_name() -> None:
    with supervised(f"good={SLEEP}", "BAD=raise SystemExit(3)") as harness:
        good = pid_in(harness.read_until("started good"))
        assert harness.finish() == 1
        assert any("abandoned: BAD ended 5 times" in line and "exit code 3" in line for line in harness.lines)
        assert not is_alive(good)


def test_a_part_that_hangs_is_killed_at_its_deadline() -> None:
    with supervised(f"deaf={DEAF}", grace_seconds=0.3) as harness:
        pid = pid_in(harness.read_until("started deaf"))
        harness.read_until("| deaf")
        harness.interrupt()
        assert harness.finish() == 0
        assert "deaf did not stop in time and was killed." in harness.lines
        assert not is_alive(pid)


def test_a_second_interrupt_hurries_a_part_that_hangs() -> None:
    with supervised(f"deaf={DEAF}", grace_seconds=600) as harness:
        harness.read_until("| deaf")
        harness.interrupt()
        harness.read_until("Stopping")
        harness.interrupt()
        assert harness.finish() == 0


def test_a_stop_is_heard_while_another_part_has_crashed() -> None:
    with supervised(f"one={SLEEP}", f"two={SLEEP}") as harness:
        one, two = (pid_in(harness.read_until(f"started {name}")) for name in ("one", "two"))
        os.kill(two, signal.SIGKILL)
        harness.read_until("two ended with SIGKILL")
        harness.interrupt()
        assert harness.finish() == 0
        assert not is_alive(one)


def test_nothing_is_left_of_a_supervisor_that_is_killed() -> None:
    with supervised(f"one={SLEEP}", f"two={FORKING}") as harness:
        pids = [pid_in(harness.read_until(f"started {name}")) for name in ("one", "two")]
        pids.append(pid_in(harness.read_until("grandchild")))
        harness.process.kill()
        assert eventually(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL"), (-99, "signal 99")]
)
def test_an_exit_is_described(code: int, words: str) -> None:
    assert describe_exit(code) == words
