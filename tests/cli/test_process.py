"""What a part checks before it starts: addresses and schema."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from cli.process import connected_database, connected_redis, require_schema
from config.settings import Settings
from storage.children import StartFailed


def statewave(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing in its environment but `environ`."""
    argv = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_without_address_or_server_the_way_to_get_one_is_told(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    with pytest.raises(StartFailed, match="STATEWAVE_DATABASE_URL is not set"):
        connected_database(settings)
    with pytest.raises(StartFailed, match="STATEWAVE_REDIS_URL is not set"):
        connected_redis(settings)


def test_addresses_that_are_set_are_taken_as_they_are() -> None:
    settings = Settings(database_url="postgresql://h/d", redis_url="redis://h")
    assert (connected_database(settings), connected_redis(settings)) == ("postgresql://h/d", "redis://h")


def test_the_running_embedded_servers_are_found(servers_dir: Path, database: str, redis_url: str) -> None:
    settings = Settings(data_dir=str(servers_dir))
    with psycopg.connect(connected_database(settings)) as conn:
        assert conn.info.dbname == "statewave"
    assert connected_redis(settings) == redis_url


def test_a_database_that_does_not_answer_is_said_so() -> None:
    with pytest.raises(StartFailed, match="does not answer"):
        require_schema("postgresql://127.0.0.1:1/nothing")


@pytest.mark.parametrize("part", ["api", "worker", "scheduler"])
def test_no_part_starts_on_an_older_schema(part: str, empty_database: str, redis_url: str) -> None:
    done = statewave(part, STATEWAVE_DATABASE_URL=empty_database, STATEWAVE_REDIS_URL=redis_url)
    assert done.returncode == 1
    assert "Run: statewave migrate" in done.stderr


@pytest.mark.parametrize("part", ["api", "worker", "scheduler"])
def test_no_part_starts_on_a_newer_schema(part: str, database: str, redis_url: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("insert into schema_migrations (version, checksum) values ('9999_later', 'x')")
    done = statewave(part, STATEWAVE_DATABASE_URL=database, STATEWAVE_REDIS_URL=redis_url)
    assert done.returncode == 1
    assert "newer version" in done.stderr


def test_bad_settings_are_named_all_at_once() -> None:
    done = statewave("api", STATEWAVE_PORT="x", STATEWAVE_LOG_FORMAT="xml")
    assert done.returncode == 1
    assert "STATEWAVE_PORT" in done.stderr
    assert "STATEWAVE_LOG_FORMAT" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_says_what_is_pending_then_does_it(empty_database: str) -> None:
    environ = {"STATEWAVE_DATABASE_URL": empty_database}
    pending = statewave("migrate", "--check", **environ)
    assert (pending.returncode, "pending" in pending.stdout) == (1, True)
    first = statewave("migrate", **environ)
    assert (first.returncode, "applied 0001_foundation" in first.stdout) == (0, True)
    assert statewave("migrate", "--check", **environ).returncode == 0


def test_a_queue_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = statewave("worker", "--queues", "compile,nonsense")
    assert done.returncode == 2
    assert "no queue 'nonsense'" in done.stderr
    assert "compile, llm, webhooks, maintenance" in done.stderr


def test_help_names_every_command() -> None:
    done = statewave("--help")
    assert done.returncode == 0
    for command in ("up", "api", "worker", "scheduler", "migrate", "doctor"):
        assert f"\n    {command}" in done.stdout


@pytest.mark.parametrize("part", ["up", "worker"])
def test_no_part_starts_without_the_model_that_is_set(part: str, tmp_path: Path) -> None:
    environ = {"STATEWAVE_DATABASE_URL": "postgresql://h/d", "STATEWAVE_REDIS_URL": "redis://h"}
    environ["STATEWAVE_DATA_DIR"] = str(tmp_path)
    done = statewave(part, STATEWAVE_EMBEDDING_MODEL=str(tmp_path / "none"), **environ)
    assert done.returncode == 1
    assert "expected minilm, or a folder with tokenizer.json" in done.stderr
    assert "Traceback" not in done.stderr
