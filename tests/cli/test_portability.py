"""Export and import in the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import main
from pipelines.erasure import erase_subject
from pipelines.services import Services
from tests.pipelines.test_erasure import say


@pytest.fixture
def shell(services: Services, database: str, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A database that the commands find."""
    monkeypatch.setenv("STATEWAVE_DATABASE_URL", database)
    return services


def test_a_tenant_goes_into_a_file_and_comes_back(
    shell: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject_id in ("ada", "eve"):
        say(shell, f"My name is {subject_id.title()}.", subject_id=subject_id)
    backup = tmp_path / "backup.jsonl"
    assert main(["export", "--all", "--tenant", "acme", "--output", str(backup)]) == 0
    assert list(tmp_path.iterdir()) == [backup]
    assert "2 subjects exported" in capsys.readouterr().err
    erase_subject(shell, "acme", "ada")
    assert main(["import", str(backup)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("ada: 0 episodes") and "left out because they were erased" in told[0]
    assert "rows were there" in told[1]
    assert main(["import", "--include-erased", str(backup)]) == 0
    assert capsys.readouterr().err.startswith("ada: 1 episodes and 0 memories imported")


def test_one_subject_goes_to_standard_output(shell: Services, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    say(shell, "Hello.")
    assert main(["export", "ada", "--tenant", "acme"]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert json.loads(lines[0])["subject_id"] == "ada" and json.loads(lines[-1])["counts"]["episodes"] == 1


def test_mistakes_are_named(shell: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export"]) == 2
    assert main(["export", "nobody"]) == 1
    assert main(["import", str(tmp_path / "missing")]) == 1
    (tmp_path / "text").write_text("hello")
    assert main(["import", str(tmp_path / "text")]) == 1
    assert "not an exported subject" in capsys.readouterr().err
