"""Child processes and their guardian: nothing outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.children import Cancelled, Child, StartFailed, command_line, end_leftover, open_log, wait_until
from storage.guardian import read_wards
from tests.fixtures.processes import eventually, is_alive

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
#: Starts a sleeping process of its own and tells its pid.
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(p.pid, flush=True); time.sleep(600)",
]


def started(child: Child, lines: list[str]) -> Child:
    child.on_line = lines.append
    child.start()
    assert eventually(lambda: lines)
    return child


def test_a_child_is_stopped_by_its_signal() -> None:
    child = Child(name="sleeper", argv=SLEEP)
    child.start()
    assert child.is_running
    assert child.stop()
    assert child.poll() == -signal.SIGTERM


def test_a_child_that_ignores_its_signal_is_killed() -> None:
    child = started(Child(name="stubborn", argv=STUBBORN), [])
    assert not child.stop(grace_seconds=0.2)
    assert child.poll() == -signal.SIGKILL


def test_what_a_child_started_is_ended_with_it() -> None:
    lines: list[str] = []
    child = started(Child(name="parent", argv=PARENT), lines)
    grandchild = int(lines[0])
    child.stop()
    assert eventually(lambda: not is_alive(grandchild))


def test_what_a_crashed_child_started_is_ended_by_kill() -> None:
    lines: list[str] = []
    child = started(Child(name="parent", argv=PARENT), lines)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    assert is_alive(int(lines[0]))
    child.kill()
    assert eventually(lambda: not is_alive(int(lines[0])))


def test_children_end_when_their_parent_is_killed() -> None:
    # Given a process that started a child, which started another and ignores polite requests
    script = (
        "import sys, time; from storage.children import Child\n"
        f"c = Child(name='x', argv={PARENT!r}, on_line=lambda l: print(c.pid, l, flush=True)); c.start()\n"
        f"s = Child(name='y', argv={STUBBORN!r}, grace_seconds=0.2); s.start(); print(s.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        words: list[str] = []
        while len([word for word in words if word.isdigit()]) < 3:
            words += parent.stdout.readline().split()
        pids = [int(word) for word in words if word.isdigit()]
        assert all(is_alive(pid) for pid in pids)
        # When it is killed without a chance to clean up
        parent.kill()
        # Then none of them is left
        assert eventually(lambda: not any(is_alive(pid) for pid in pids))


def test_the_guardian_keeps_only_what_it_was_not_told_to_forget() -> None:
    assert read_wards(["watch 7 15 1.0\n", "watch 8 2 20.0\n", "forget 7\n", "forget 9\n"]) == {8: (2, 20.0)}


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(StartFailed, match="nonsense cannot be run"):
        Child(name="nonsense", argv=["/nowhere/nonsense"]).start()


def test_a_child_that_ends_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    child = Child(name="x", argv=["sh", "-c", "echo 'no luck today'; exit 3"], log_path=log)
    child.start()
    with pytest.raises(StartFailed, match=r"x ended with code 3[\s\S]*no luck today"):
        wait_until(lambda: False, child, seconds=30)
    child.kill()


def test_waiting_for_a_child_ends_when_a_stop_is_asked_for() -> None:
    child = Child(name="x", argv=SLEEP)
    child.start()
    with pytest.raises(Cancelled):
        wait_until(lambda: False, child, seconds=30, cancelled=lambda: True)
    child.kill()


def test_a_leftover_server_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEP) as leftover:
        # For a moment after its start a process has no command line, and end_leftover would take it for gone.
        assert eventually(lambda: "time.sleep(600)" in command_line(leftover.pid))
        (tmp_path / "pid").write_text(f"{leftover.pid}\nmore\n")
        # The popen object collects the child, so that its pid is gone when it ended.
        signal.signal(signal.SIGCHLD, lambda *_: leftover.poll())
        try:
            end_leftover(tmp_path / "pid", "time.sleep(600)", signal.SIGTERM)
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        assert leftover.wait(10) == -signal.SIGTERM


def test_a_stranger_with_the_pid_of_a_leftover_is_spared(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEP) as stranger:
        assert eventually(lambda: "time.sleep(600)" in command_line(stranger.pid))
        (tmp_path / "pid").write_text(f"{stranger.pid}\n")
        end_leftover(tmp_path / "pid", "redis-server", signal.SIGTERM)
        assert stranger.poll() is None
        stranger.kill()
    assert not (tmp_path / "pid").exists()


def test_a_large_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.children.LOG_ROTATE_BYTES", 10)
    log = tmp_path / "logs" / "x.log"
    for text in (b"the first and long one", b"second"):
        with open_log(log) as file:
            file.write(text)
    assert log.read_bytes() == b"second"
    assert log.with_name("x.log.1").read_bytes() == b"the first and long one"
