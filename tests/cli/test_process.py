"""What a part checks before it starts: addresses and schema."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from cli.process import connected_database, connected_redis, require_files, require_schema
from config.settings import ConfigurationError, Settings
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


def test_files_that_cannot_be_used_are_named_all_at_once_before_anything_starts(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(ConfigurationError) as refused:
        require_files(Settings(template_dir=missing, language_dir=missing, embedding_model=missing))
    names = [problem.partition(":")[0] for problem in refused.value.problems]
    assert names == ["STATEWAVE_TEMPLATE_DIR", "STATEWAVE_LANGUAGE_DIR", f"STATEWAVE_EMBEDDING_MODEL={missing}"]
    assert all(missing in problem for problem in refused.value.problems)
    require_files(Settings())


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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library")
def test_threads_share_the_few_arenas_of_the_c_library(tmp_path: Path) -> None:
    """The variable that bounds them is read before the first line of ours runs, so it would be too late to set it."""
    report = tmp_path / "malloc.xml"
    code = f"""
import ctypes, threading
from cli.process import use_few_arenas
use_few_arenas()
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)
def allocate():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fopen({str(report)!r}.encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60)
    assert 1 <= report.read_text().count("<heap nr=") <= 2
