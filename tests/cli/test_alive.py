"""`statewave alive`, as a probe runs it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cli.main import main
from storage import pulses
from tests.fixtures.stack import RunningStack


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATEWAVE_DATA_DIR", str(tmp_path))
    return tmp_path


def test_the_parts_of_a_running_server_are_alive(running_stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATEWAVE_DATA_DIR", "STATEWAVE_PORT"):
        monkeypatch.setenv(name, running_stack.environ[name])
    for part in ("worker", "scheduler"):
        while not pulses.ages(Path(running_stack.environ["STATEWAVE_DATA_DIR"]), part):
            assert running_stack.processes[part].poll() is None
            time.sleep(0.05)
    assert [main(["alive", part]) for part in ("api", "worker", "scheduler")] == [0, 0, 0]


@pytest.mark.parametrize("part", ["worker", "scheduler"])
def test_a_part_that_never_beat_is_not_alive(data_dir: Path, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alive", part]) == 1
    assert f"no {part} has given a sign of life" in capsys.readouterr().err


def test_one_silent_process_among_several_is_enough(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pulses.beat(data_dir, "worker")
    silent = data_dir / "pulses" / "worker-1"
    silent.touch()
    past = time.time() - 300
    os.utime(silent, (past, past))
    assert main(["alive", "worker"]) == 1
    assert "silent: worker-1 for 300 s" in capsys.readouterr().err
    assert main(["alive", "worker", "--longest-silence", "600"]) == 0


def test_an_api_that_does_not_answer_is_not_alive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATEWAVE_PORT", "1")
    assert main(["alive", "api"]) == 1
    assert "http://127.0.0.1:1/healthz does not answer" in capsys.readouterr().err
