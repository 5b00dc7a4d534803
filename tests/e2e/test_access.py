"""What only real servers can show of access: two processes of one database, raw headers, and what the log says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import falcon.testing
import httpx
import pytest
from statewave import StatewaveClient
from statewave.exceptions import StatewaveAPIError

from api.app import create_app
from config.settings import Settings
from pipelines.key_format import new_key
from pipelines.services import Services
from storage.transactions import open_pool, operator_transaction
from tests.api.requests import episode
from tests.fixtures.stack import RunningStack


@pytest.fixture
def first(running_stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_stack.base_url, timeout=30) as client:
        yield client


@pytest.fixture
def second(running_stack: RunningStack) -> Iterator[falcon.testing.TestClient]:
    """Another server of the same database, with a memory of its own: this process."""
    settings = Settings(database_url=running_stack.database_url)
    pool = open_pool(running_stack.database_url, size=2)
    services = Services(settings=settings, pool=pool, embedder=None, ping_broker=lambda: None)
    yield falcon.testing.TestClient(create_app(services))
    pool.close()


def make_key(client: httpx.Client, **fields: object) -> tuple[str, str]:
    """Id and key."""
    answer = client.post("/admin/keys", json={"name": str(uuid4()), **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["details"]["id"], answer.json()["key"]


def spoken(stack: RunningStack, *lines: bytes) -> bytes:
    """What the server answers to exactly these lines of a head."""
    address = urlsplit(stack.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Host: x", b"Connection: close", b"", b""]))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_key_revoked_at_one_server_opens_nothing_at_the_other(
    first: httpx.Client, second: falcon.testing.TestClient
) -> None:
    id, key = make_key(first, tenant_id="acme")
    headers = {"Authorization": f"Bearer {key}"}
    for _ in range(2):
        assert first.get("/v1/subjects", headers=headers).status_code == 200
        assert second.simulate_get("/v1/subjects", headers=headers).status_code == 200
    assert second.simulate_delete(f"/admin/keys/{id}").status_code == 200
    assert first.post("/v1/episodes", json=episode(), headers=headers).status_code == 403
    assert first.get("/v1/subjects", headers=headers).status_code == 403
    assert second.simulate_get("/v1/subjects", headers=headers).status_code == 403


def test_the_tenant_cannot_be_smuggled(running_stack: RunningStack, first: httpx.Client) -> None:
    tenant = str(uuid4())
    headers = {"X-Tenant-ID": tenant}
    assert first.post("/v1/episodes", json=episode(subject_id="hidden"), headers=headers).status_code == 201
    _, own = make_key(first, tenant_id="intruder")
    get, key, named = b"GET /v1/subjects HTTP/1.1", b"X-API-Key: " + own.encode(), tenant.encode()
    heads = [
        [get, key, b"X-Tenant-ID: " + named],
        [get, key, b"X-Tenant-ID: intruder", b"X-Tenant-ID: " + named],
        [get, key, b"X-Tenant-ID: " + named, b"X-Tenant-ID: intruder"],
        [get, key, b"X-Tenant_ID: " + named],
        [get, key, b"X_TENANT_ID: " + named],
        [get, key, b"x-tEnAnT-iD: " + named],
        [get, key, b"X-Tenant-ID:\t" + named + b" "],
        [get, key, b"X-Statewave-Tenant-ID: " + named],
        [get, key, b"X-Tenant-ID : " + named],
        [get, key, b"X-Tenant-ID: \xff\xfe" + named],
        [get, key, b"X-Tenant-ID:", b" " + named],
        [get, key, b"X-Tenant-ID: intruder\x00" + named],
        [b"GET /v1/subjects?tenant_id=" + named + b" HTTP/1.1", key],
    ]
    for head in heads:
        answer = spoken(running_stack, *head)
        assert b"hidden" not in answer, head
        assert status(answer) in (200, 400, 403, 422), (head, answer)
    # Without a key of a tenant, a header that was sent twice belongs to neither of the two.
    for order in ([b"intruder", named], [named, b"intruder"]):
        answer = spoken(running_stack, get, *(b"X-Tenant-ID: " + each for each in order))
        assert status(answer) == 200 and b"hidden" not in answer


def test_two_keys_are_no_key(running_stack: RunningStack, first: httpx.Client) -> None:
    _, key = make_key(first, tenant_id="acme")
    get = b"GET /v1/subjects HTTP/1.1"
    sent = b"X-API-Key: " + key.encode()
    assert status(spoken(running_stack, get, sent)) == 200
    assert status(spoken(running_stack, get, sent, sent)) == 403
    assert status(spoken(running_stack, get, b"X-API-Key: sw_\xff\xfe\xfd")) == 403
    # A header that a proxy would not recognise as the key's is none.
    assert status(spoken(running_stack, get, b"X_API_KEY: sw_wrong")) == 200


def test_no_byte_of_a_key_reaches_a_log(running_stack: RunningStack, first: httpx.Client) -> None:
    id, key = make_key(first, tenant_id="acme")
    stranger, _ = new_key()
    for sent in (key, stranger, key[:-1] + "0"):
        for path in ("/v1/subjects", f"/v1/subjects/{sent}/health", f"/{sent}", f"/v1/subjects?api_key={sent}"):
            for headers in ({"X-API-Key": sent}, {"Authorization": f"Bearer {sent}"}, {"Authorization": sent}, {}):
                first.get(path, headers=headers)
        first.post("/v1/episodes", json={"subject_id": sent, "payload": sent}, headers={"X-API-Key": sent})
    first.get("/v1/subjects", headers={"X-Tenant-ID": key})
    answered = first.post(f"/admin/keys/{id}/rotate", json={})
    logged = "".join(path.read_text(errors="replace") for path in Path(running_stack.log_dir).glob("*.log"))
    assert logged.count("/admin/keys") > 0
    for secret in (key, stranger, answered.json()["key"]):
        assert secret.rsplit("_", 1)[1][:20] not in logged
    # Nor does any row hold one.
    pool = open_pool(running_stack.database_url, size=1)
    with pool, operator_transaction(pool) as conn:
        for table in ("api_keys", "audit_log"):
            rows = conn.execute(f"select t::text from {table} t").fetchall()
            assert not any(key.rsplit("_", 1)[1][:20] in row for (row,) in rows)


def test_the_published_sdk_works_with_a_tenants_key(running_stack: RunningStack, first: httpx.Client) -> None:
    tenant = str(uuid4())
    _, key = make_key(first, tenant_id=tenant)
    with StatewaveClient(running_stack.base_url, api_key=key) as client:
        client.create_episode(
            subject_id="ada", source="chat", type="message", payload={"messages": [{"role": "user", "content": "Hi"}]}
        )
        assert [subject.subject_id for subject in client.list_subjects().subjects] == ["ada"]
    with (
        StatewaveClient(running_stack.base_url, api_key=key, tenant_id="another") as client,
        pytest.raises(StatewaveAPIError) as refused,
    ):
        client.list_subjects()
    assert (refused.value.status_code, refused.value.code) == (403, "tenant_mismatch")
