"""`statewave keys`: how the first key comes about."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import pytest

from api.app import create_app
from cli.main import main
from pipelines.services import Services
from storage.transactions import operator_transaction


@pytest.fixture
def shell(services: Services, database: str, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A database that the commands find, with a door that keys alone open."""
    monkeypatch.setenv("STATEWAVE_DATABASE_URL", database)
    monkeypatch.setenv("STATEWAVE_REQUIRE_API_KEY", "true")
    return services


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()  # what the server said in the meantime
    assert main(["keys", "list", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_key_made_in_the_shell_opens_the_server(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    client = falcon.testing.TestClient(create_app(shell))
    assert main(["keys", "create", "--name", "ci", "--tenant", "acme", "--scope", "read", "--expires-days", "30"]) == 0
    said = capsys.readouterr()
    key = said.out.strip()
    assert key.startswith("sw_") and key not in said.err and "acme" in said.err
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": key}).status_code == 200

    [row] = listed(capsys)
    assert (row["name"], row["tenant_id"], row["scopes"]) == ("ci", "acme", ["read"])
    assert row["created_by"].startswith("shell")
    main(["keys", "list"])
    table = capsys.readouterr().out
    assert "tenant acme" in table and "ends in" in table and key.rsplit("_", 1)[1] not in table

    assert main(["keys", "rotate", row["id"], "--overlap-hours", "0"]) == 0
    new = capsys.readouterr().out.strip()
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": key}).status_code == 403
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": new}).status_code == 200

    assert main(["keys", "revoke", new.split("_")[1]]) == 0
    assert client.simulate_get("/v1/subjects", headers={"X-API-Key": new}).status_code == 403
    assert listed(capsys) == []
    assert len(listed(capsys, "--all")) == 2


def test_what_cannot_be_is_refused_with_a_reason(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "k", "--tenant", "acme", "--scope", "admin"]) == 1
    assert "admin" in capsys.readouterr().err
    assert main(["keys", "revoke", "nobody"]) == 1
    assert "there is no key" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["keys", "create", "--name", "k"])


def test_whoever_has_an_open_server_is_told(
    shell: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATEWAVE_REQUIRE_API_KEY")
    assert main(["keys", "create", "--name", "k", "--operator"]) == 0
    assert "STATEWAVE_REQUIRE_API_KEY=true" in capsys.readouterr().err


def test_what_the_shell_changes_is_in_the_audit_log(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--name", "k", "--operator"])
    main(["keys", "list"])
    main(["queues", "--pause", "compile", "--reason", "look"])
    with operator_transaction(shell.pool) as conn:
        rows = conn.execute("select actor, action, details::text from audit_log order by id").fetchall()
    assert [action for _, action, _ in rows] == ["key.create", "statewave queues"]
    assert {actor.split(":")[0] for actor, _, _ in rows} == {"shell"}
    assert json.loads(rows[1][2]) == {"arguments": ["--pause", "compile", "--reason", "look"]}
