"""Operators make a memory active again that was superseded: over HTTP and from the shell."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from cli.main import main
from storage.transactions import Pool, operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode

Client = falcon.testing.TestClient
ACME = {"X-Tenant-ID": "acme"}


@pytest.fixture
def moved(make_client: MakeClient) -> tuple[Client, str]:
    """A client whose subject moved from Lyon to Oslo, and the id of the memory of Lyon."""
    client = make_client(auto_compile_after_seconds=None)
    for day, home in enumerate(("Lyon", "Oslo"), start=1):
        said = {"messages": [{"role": "user", "content": f"I live in {home}."}]}
        told = episode(subject_id="ada/1", payload=said, occurred_at=f"2026-03-0{day}T09:00:00Z")
        assert client.simulate_post("/v1/episodes", json=told, headers=ACME).status_code == 201
        compiled = client.simulate_post("/v1/memories/compile", json={"subject_id": "ada/1"}, headers=ACME)
        assert compiled.status_code == 200
    listed = homes(client, "superseded")
    return client, listed["I live in Lyon"]


def homes(client: Client, status: str) -> dict[str, str]:
    answer = client.simulate_get(f"/admin/subjects/ada%2F1/memories?status={status}&kind=profile_fact")
    return {memory["content"]: memory["id"] for memory in answer.json["memories"]}


def restore(client: Client, memory_id: str, query: str = "") -> Any:
    return client.simulate_post(f"/admin/subjects/ada%2F1/memories/{memory_id}/restore{query}")


def test_a_memory_is_active_again(moved: tuple[Client, str], pool: Pool) -> None:
    client, lyon = moved
    answer = restore(client, lyon)
    assert answer.status_code == 200
    assert (answer.json["id"], answer.json["status"], answer.json["valid_to"]) == (lyon, "active", None)
    assert set(homes(client, "active")) == {"I live in Lyon", "I live in Oslo"}
    with operator_transaction(pool) as conn:
        logged = conn.execute("select action, tenant_id, target, request_id is not null from audit_log").fetchall()
    assert logged == [("memory.restore", "acme", lyon, True)]


def test_it_may_take_the_place_of_the_other(moved: tuple[Client, str]) -> None:
    client, lyon = moved
    assert restore(client, lyon, "?instead=true").status_code == 200
    assert set(homes(client, "active")) == {"I live in Lyon"}


def test_what_cannot_be_restored_is_told(moved: tuple[Client, str]) -> None:
    client, lyon = moved
    assert restore(client, "nothing").status_code == 404
    assert restore(client, lyon).status_code == 200
    assert restore(client, lyon).status_code == 409


def test_the_command_does_the_same(
    moved: tuple[Client, str], database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, lyon = moved
    monkeypatch.setenv("STATEWAVE_DATABASE_URL", database)
    arguments = ["memories", "restore", lyon, "--subject", "ada/1", "--tenant", "acme", "--instead"]
    assert main(arguments) == 0
    assert lyon in capsys.readouterr().out
    assert set(homes(client, "active")) == {"I live in Lyon"}
    assert main(arguments) == 1
    assert "not superseded" in capsys.readouterr().err
