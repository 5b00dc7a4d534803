"""The running product over HTTP: episodes in, memories compiled by real workers, context out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.fixtures.databases import DatabaseMaker
from tests.fixtures.stack import RunningStack, start_stack

#: Longer than anything here takes on a busy machine; a test that needs it has failed.
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def stack(new_database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that compiles by itself after a short quiet period."""
    folder = tmp_path_factory.mktemp("pipeline")
    with start_stack(new_database, folder, auto_compile_after_seconds="0.3") as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    """A client with a tenant of this test's own."""
    with httpx.Client(base_url=stack.base_url, headers={"X-Tenant-ID": str(uuid4())}, timeout=30) as client:
        yield client


def eventually(look: Callable[[], Any]) -> Any:
    """What `look` gives once it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def message(text: str, **fields: Any) -> dict[str, Any]:
    return {
        "subject_id": "ada",
        "source": "chat",
        "type": "message",
        "payload": {"messages": [{"role": "user", "content": text}]},
        **fields,
    }


def memories(client: httpx.Client) -> list[dict[str, Any]]:
    answer = client.get("/v1/timeline", params={"subject_id": "ada"})
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["memories"]
    return found


def test_memories_appear_without_anyone_asking(client: httpx.Client) -> None:
    assert client.post("/v1/episodes", json=message("My name is Ada Moreau.")).status_code == 201
    found = eventually(lambda: memories(client))
    assert any(memory["kind"] == "profile_fact" and "Ada Moreau" in memory["content"] for memory in found)


def test_an_asynchronous_compile_can_be_followed_to_its_memories(client: httpx.Client) -> None:
    client.post("/v1/episodes", json=message("I work at Globex."))
    accepted = client.post("/v1/memories/compile", json={"subject_id": "ada", "async": True})
    assert accepted.status_code == 202

    def finished() -> Any:
        status = client.get(f"/v1/memories/compile/{accepted.json()['job_id']}").json()
        return status if status["status"] == "completed" else None

    status = eventually(finished)
    assert status["memories_created"] == len(status["memories"]) > 0
    assert status["subject_id"] == "ada"


def test_a_compile_request_joins_the_one_that_waits(client: httpx.Client, stack: RunningStack) -> None:
    client.post("/v1/episodes", json=message("I live in Porto."))
    answer = client.post("/v1/memories/compile", json={"subject_id": "ada", "async": True}).json()
    with psycopg.connect(stack.database_url) as conn:
        conn.execute("set role statewave_operator")
        row = conn.execute(
            "select count(*) from runs where tenant_id = %s", (client.headers["X-Tenant-ID"],)
        ).fetchone()
    assert row == (1,)
    assert answer["attached"] is True


def test_one_key_sent_many_times_at_once_is_one_episode(client: httpx.Client) -> None:
    def send(_: int) -> str:
        return str(client.post("/v1/episodes", json=message("once", idempotency_key="k")).json()["id"])

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(send, range(24)))) == 1
    assert len(client.get("/v1/timeline", params={"subject_id": "ada"}).json()["episodes"]) == 1


def test_context_finds_what_was_just_said_and_what_was_compiled(client: httpx.Client) -> None:
    client.post("/v1/episodes", json=message("The PDF export fails with E-4012.", session_id="s1"))
    question = {"subject_id": "ada", "task": "Why does the export fail?", "max_tokens": 200}
    before = client.post("/v1/context", json=question).json()
    eventually(lambda: memories(client))
    after = client.post("/v1/context", json=question).json()
    for bundle in (before, after):
        assert "E-4012" in bundle["assembled_context"]
        assert bundle["token_estimate"] <= 200
        assert bundle["sessions"][0]["session_id"] == "s1"


def test_deleting_a_subject_leaves_no_row_in_any_table(client: httpx.Client, stack: RunningStack) -> None:
    for number in range(5):
        client.post("/v1/episodes", json=message(f"I live in city number {number}."))
    client.post("/v1/memories/compile", json={"subject_id": "ada"})
    client.post("/v1/episodes", json=message("One more, with a compile under way."))
    answer = client.delete("/v1/subjects/ada")
    assert answer.status_code == 200
    assert answer.json()["episodes_deleted"] == 6
    tenant_id = client.headers["X-Tenant-ID"]
    # That it was erased is left: the receipt, who asked, and the run that proved it.
    eventually(lambda: rows_of(stack, tenant_id) == {"audit_log": 1, "erasures": 1, "runs": 1})
    assert client.get(f"/admin/erasures?tenant_id={tenant_id}").json()["erasures"][0]["state"] == "proved"


def rows_of(stack: RunningStack, tenant_id: str) -> dict[str, int]:
    """How many rows each table has of a tenant, without the tables that have none and the figures of its usage."""
    with psycopg.connect(stack.database_url) as conn:
        conn.execute("set role statewave_operator")
        tables = conn.execute(
            "select table_name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'tenant_id' and table_name !~ '^usage'"
        ).fetchall()
        counts = {
            table: conn.execute(f"select count(*) from {table} where tenant_id = %s", (tenant_id,)).fetchone()
            for (table,) in tables
        }
    return {table: row[0] for table, row in counts.items() if row and row[0]}


def test_two_tenants_do_not_see_each_other(client: httpx.Client, stack: RunningStack) -> None:
    client.post("/v1/episodes", json=message("My name is Ada Moreau."))
    other = httpx.Client(base_url=stack.base_url, headers={"X-Tenant-ID": str(uuid4())})
    with other:
        assert other.get("/v1/subjects").json() == {"subjects": [], "total": 0}
        assert other.get("/v1/timeline", params={"subject_id": "ada"}).json()["episodes"] == []
        assert other.delete("/v1/subjects/ada").json()["episodes_deleted"] == 0
    assert client.get("/v1/subjects").json()["total"] == 1
