"""The doctor: silent about nothing that is wrong, and with a remedy for each."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import psycopg
import pytest
import redis

from cli.checks import Check, installation, machine
from cli.doctor import render
from cli.main import main
from cli.server_checks import broker, database
from config.settings import Settings
from pipelines.providers import adapter
from tests.fixtures.stack import free_port


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def healthy(checks: Iterable[Check]) -> bool:
    return all(check.status != "fail" for check in checks)


@pytest.fixture
def here(settings: Settings, tmp_path: Path) -> Settings:
    return dataclasses.replace(settings, data_dir=str(tmp_path), port=free_port())


def test_a_model_that_compiles_needs_its_library(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    models = dataclasses.replace(here, compiler_type="llm", llm_models=("gpt-4o-mini", "ollama/llama3"))
    assert by_name(machine(models))["compiler"].detail == "llm: gpt-4o-mini, ollama/llama3"
    monkeypatch.setattr(adapter, "is_installed", lambda: False)
    check = by_name(machine(models))["compiler"]
    assert check.status == "fail"
    assert "statewave-server[llm]" in str(check.remedy)


def test_a_good_installation_is_healthy(here: Settings) -> None:
    checks = [*installation(), *machine(here), *database(here), *broker(here)]
    assert healthy(checks), [check for check in checks if check.status == "fail"]


def test_every_failure_has_a_remedy(here: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broken = dataclasses.replace(
        here,
        database_url="postgresql://127.0.0.1:1/x",
        redis_url="redis://127.0.0.1:1",
        data_dir=str(tmp_path / "file" / "data"),
    )
    failures = [c for c in (*machine(broken), *database(broken), *broker(broken)) if c.status == "fail"]
    assert {check.name for check in failures} == {"database", "Redis", "data folder"}
    assert all(check.remedy for check in failures)


def test_a_port_of_somebody_else_is_noticed(here: Settings) -> None:
    with socket.create_server(("127.0.0.1", here.port)):
        assert by_name(machine(here))["port"].status == "fail"


def test_servers_that_do_not_run_yet_are_no_failure(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    assert [check.status for check in (*database(settings), *broker(settings))] == ["skipped", "skipped"]


def test_a_missing_schema_is_answered_with_the_command(here: Settings, empty_database: str) -> None:
    check = by_name(database(dataclasses.replace(here, database_url=empty_database)))["schema"]
    assert check.status == "fail"
    assert "statewave migrate" in str(check.remedy)


def test_a_table_that_does_not_force_row_level_security_is_named(here: Settings) -> None:
    with psycopg.connect(str(here.database_url), autocommit=True) as conn:
        conn.execute("alter table episodes no force row level security")
    check = by_name(database(here))["row-level security"]
    assert check.status == "fail"
    assert "episodes" in check.detail
    assert "force row level security" in str(check.remedy)


def test_a_role_that_sees_every_tenant_is_named(here: Settings) -> None:
    with psycopg.connect(str(here.database_url), autocommit=True) as conn:
        conn.execute("alter role statewave_app bypassrls")
        try:
            check = by_name(database(here))["roles"]
        finally:
            conn.execute("alter role statewave_app nobypassrls")
    assert check.status == "fail"
    assert "statewave_app" in check.detail


def test_too_few_connections_are_noticed_before_they_run_out(here: Settings) -> None:
    check = by_name(database(dataclasses.replace(here, api_workers=100, pool_size=200)))["connections"]
    assert check.status == "fail"


def test_a_redis_that_forgets_is_noticed(here: Settings) -> None:
    with redis.Redis.from_url(str(here.redis_url)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            check = by_name(broker(here))["Redis eviction"]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert check.status == "fail"


def test_bad_settings_are_a_failure_and_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATEWAVE_PORT", "nonsense")
    assert main(["doctor", "--json"]) == 1
    failures = [check for check in json.loads(capsys.readouterr().out) if check["status"] == "fail"]
    assert [(check["name"], check["detail"]) for check in failures] == [("settings", "STATEWAVE_PORT")]


def test_a_remedy_stands_under_its_check() -> None:
    first, second = render(Check("port", "fail", "8100 is in use", "stop it"), coloured=False).splitlines()
    assert first.split() == ["fail", "port", "8100", "is", "in", "use"]
    assert second.strip() == "→ stop it"
