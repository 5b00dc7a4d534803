"""The embedded PostgreSQL and Redis: they keep what they were given, and survive being killed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from storage import embedded_postgres
from storage.children import StartFailed
from storage.embedded_postgres import EmbeddedPostgres
from storage.embedded_redis import SOCKET_PATH_BYTES, EmbeddedRedis, find_binary, socket_path
from tests.fixtures.processes import eventually, is_alive


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="statewave-embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_database_is_there_after_a_restart(data_dir: Path) -> None:
    for _ in range(2):
        server = EmbeddedPostgres(data_dir)
        server.start()
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("create table if not exists kept (n int)")
            conn.execute("insert into kept values (1)")
            rows = conn.execute("select count(*) from kept").fetchone()
        server.stop()
    assert rows == (2,)


def test_what_was_committed_survives_a_killed_postgres(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("create table kept (n int)")
        conn.execute("insert into kept values (1)")
    assert server.child is not None
    assert server.child.pid is not None
    # When the postmaster alone is killed, its pid file and its processes stay behind
    os.kill(server.child.pid, signal.SIGKILL)
    server.child.wait(10)
    server.child.kill()
    server.start()
    with psycopg.connect(server.url()) as conn:
        assert conn.execute("select n from kept").fetchall() == [(1,)]
    server.stop()


def test_an_interrupted_creation_begins_anew(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    unfinished = server.data.with_name("unfinished")
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    server.start()
    assert server.data.exists()
    assert not unfinished.exists()
    server.stop()


def test_postgres_sorts_by_code_point_and_knows_every_letters_case(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url()) as conn:
        assert conn.execute("select lower('ÄÖÜ'), 'Z' < 'a', 'z' < 'ä'").fetchone() == ("äöü", True, True)


def test_nobody_else_reaches_the_servers(data_dir: Path) -> None:
    postgres, redis_server = EmbeddedPostgres(data_dir), EmbeddedRedis(data_dir)
    postgres.start()
    redis_server.start()
    folders = [embedded_postgres.socket_folder(data_dir), redis_server.socket.parent]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]
    with psycopg.connect(postgres.url()) as conn:
        assert conn.execute("show listen_addresses").fetchone() == ("",)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.config_get("port")["port"] == "0"
    redis_server.stop()
    postgres.stop()


def test_redis_keeps_what_it_was_given_over_a_kill(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert server.child is not None
    server.child.kill()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
    server.stop()


def test_a_long_path_is_replaced_by_a_short_one_for_the_socket(data_dir: Path) -> None:
    deep = data_dir / ("a folder with a name of some length, and ünïcode %41 " * 3)
    postgres, redis_server = EmbeddedPostgres(deep), EmbeddedRedis(deep)
    postgres.start()
    redis_server.start()
    assert len(os.fsencode(socket_path(deep))) <= SOCKET_PATH_BYTES
    with psycopg.connect(postgres.url()) as conn, redis.Redis.from_url(redis_server.url) as client:
        assert conn.execute("select 1").fetchone() == (1,)
        assert client.ping()
    redis_server.stop()
    postgres.stop()
    shutil.rmtree(embedded_postgres.socket_folder(deep))
    shutil.rmtree(redis_server.socket.parent)


def test_the_servers_end_with_a_process_that_is_killed(data_dir: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from storage.embedded_postgres import EmbeddedPostgres; from storage.embedded_redis import EmbeddedRedis\n"
        "p, r = EmbeddedPostgres(Path(sys.argv[1])), EmbeddedRedis(Path(sys.argv[1])); p.start(); r.start()\n"
        "print(p.child.pid, r.child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(data_dir)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
        assert eventually(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")
def test_as_root_a_folder_that_others_may_not_enter_is_left_closed(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / ".statewave")
    server.start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert str(embedded_postgres.FALLBACK_ROOT) in server.notices[0]
    files = embedded_postgres.home(server.data_dir)
    assert files.is_relative_to(embedded_postgres.FALLBACK_ROOT)
    with psycopg.connect(server.url()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    server.stop()
    shutil.rmtree(files)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")
def test_as_root_programs_that_others_may_not_reach_are_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the programs and their libraries in a folder that only root may enter
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    binaries = embedded_postgres.binary_folder()
    package = binaries.parent.parent
    shutil.copytree(binaries.parent, closed / package.name / binaries.parent.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    hidden = closed / binaries.relative_to(package.parent)
    monkeypatch.setattr(embedded_postgres, "binary_folder", lambda: hidden)
    monkeypatch.setattr(embedded_postgres, "FALLBACK_ROOT", data_dir / "fallback")
    server = EmbeddedPostgres(data_dir / "data")
    server.start()
    assert server.binaries.is_relative_to(data_dir / "fallback")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with psycopg.connect(server.url()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    server.stop()


def test_without_a_redis_program_the_ways_to_get_one_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.embedded_redis.shutil.which", lambda name: None)
    monkeypatch.setattr("storage.embedded_redis.importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartFailed, match="apt install redis-server"):
        find_binary()


def test_a_redis_program_on_the_path_comes_before_the_bundled_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == program
