"""The same from the shell."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cli.database import duration
from cli.main import main
from pipelines import schedules
from pipelines.compile import request_compile
from pipelines.services import Services
from storage import runs
from storage.transactions import operator_transaction


@pytest.fixture
def shell(services: Services, database: str, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A database that the commands find."""
    monkeypatch.setenv("STATEWAVE_DATABASE_URL", database)
    return services


def dead(services: Services, subject_id: str = "ada") -> str:
    run, _ = request_compile(services, "acme", subject_id, request_id=None)
    with operator_transaction(services.pool) as conn:
        held = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
        assert held is not None
        runs.fail(conn, held, error="ValueError: broken\nsecond line")
    return str(run.id)


def test_queues_are_a_table_or_json(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    dead(shell)
    assert main(["queues"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["queue", "ready", "later", "running", "dead"]
    assert lines[1].split()[:5] == ["compile", "0", "0", "0", "1"]
    assert main(["queues", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["queue"]: row["dead"] for row in rows}["compile"] == 1


def test_a_queue_is_paused_and_resumed(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    main(["queues", "--pause", "llm", "--reason", "provider is down"])
    assert "paused provider is down" in capsys.readouterr().out
    main(["queues", "--resume", "llm"])
    assert "paused" not in capsys.readouterr().out


def test_runs_are_listed_shown_retried_and_cancelled(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = dead(shell)
    assert main(["runs", "--state", "failed"]) == 0
    listed = capsys.readouterr().out
    assert run_id in listed and "ValueError: broken" in listed and "second line" not in listed
    assert main(["runs", "--show", run_id]) == 0
    assert json.loads(capsys.readouterr().out)["errors"][0]["error"].endswith("second line")
    assert main(["runs", "--retry", run_id]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "pending"
    assert main(["runs", "--cancel", run_id]) == 0
    assert main(["runs", "--cancel", run_id]) == 1
    assert "cancelled already" in capsys.readouterr().err
    assert main(["runs", "--state", "running"]) == 0
    assert capsys.readouterr().out == "no such runs\n"


def test_dead_letters_are_listed_retried_and_purged(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    dead(shell, "ada")
    dead(shell, "bob")
    assert main(["dead-letters", "list", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["dead-letters", "retry", "--subject", "ada"]) == 0
    assert capsys.readouterr().out == "1 runs are due again\n"
    assert main(["dead-letters", "purge"]) == 2
    assert "--all" in capsys.readouterr().err
    assert main(["dead-letters", "purge", "--tenant", "acme"]) == 0
    assert capsys.readouterr().out == "1 runs deleted\n"
    assert main(["dead-letters"]) == 0
    assert capsys.readouterr().out == "no dead letters\n"
    assert main(["dead-letters", "purge", "--all"]) == 0


def test_schedules_show_their_ticks(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    schedules.declare(shell)
    assert main(["schedules"]) == 0
    assert "purge-runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.04, "0.0s"), (59.0, "59s"), (150.0, "2m"), (7300.0, "2h"), (-7300.0, "-2h")]
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
