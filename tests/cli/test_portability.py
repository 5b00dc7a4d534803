"""Export and import in the shell."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from cli.main import main
from pipelines.erasure import Asked, erase_memory, erase_subject
from pipelines.services import Services
from storage.transactions import operator_transaction
from tests.pipelines.test_erasure import say, tell_all


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


def test_a_restored_database_is_erased_again_by_the_ledger_that_was_kept(
    shell: Services, database: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    memories = tell_all(shell, "ada")
    tell_all(shell, "eve")
    backup = tmp_path / "backup.jsonl"
    main(["export", "--all", "--tenant", "acme", "--output", str(backup)])
    erase_subject(shell, "acme", "eve")
    erase_memory(shell, memories[0].id, tenant_id=None, asked=Asked(by="dpo"))
    capfdbinary.readouterr()
    assert main(["erasures", "export"]) == 0
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(capfdbinary.readouterr().out)
    # A restored dump: everything is back, and no erasure is known.
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("truncate erased_items, erasures, subjects, memories, episodes, passage_blocks, runs cascade")
    main(["import", str(backup)])
    capfdbinary.readouterr()
    for erased in ("1 subjects and 1 memories", "0 subjects and 0 memories"):
        assert main(["erasures", "apply", str(ledger)]) == 0
        assert erased in capfdbinary.readouterr().out.decode()
    with operator_transaction(shell.pool) as conn:
        assert conn.execute("select subject_id, memory_count from subjects").fetchall() == [("ada", len(memories) - 1)]
    assert main(["erasures"]) == 0
    assert capfdbinary.readouterr().out.count(b"acme") == 4


def test_a_ledger_that_was_changed_is_refused(
    shell: Services, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    say(shell, "Hello.")
    erase_subject(shell, "acme", "ada")
    capfdbinary.readouterr()
    main(["erasures", "export"])
    line = json.loads(capfdbinary.readouterr().out)
    ledger = tmp_path / "ledger.jsonl"
    for changed in (b"7\n", b"{}\n", json.dumps({**line, "subject_sha256": "no"}).encode()):
        ledger.write_bytes(changed)
        assert main(["erasures", "apply", str(ledger)]) == 1
    assert main(["erasures", "apply"]) == 2


def test_a_subject_that_began_anew_is_left_to_a_person(
    shell: Services, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    say(shell, "Hello.")
    erase_subject(shell, "acme", "ada")
    say(shell, "Hello again.")
    capfdbinary.readouterr()
    main(["erasures", "export"])
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(capfdbinary.readouterr().out)
    assert main(["erasures", "apply", str(ledger)]) == 0
    told = capfdbinary.readouterr()
    assert b"0 subjects" in told.out and b"undecided" in told.err
