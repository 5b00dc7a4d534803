"""What only a real server can show: chunks, large bodies, odd paths, kept connections."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from tests.api.requests import episode
from tests.fixtures.stack import RunningStack


@pytest.fixture
def client(running_stack: RunningStack) -> Iterator[httpx.Client]:
    """A client with one kept connection and a tenant of this test's own."""
    limits = httpx.Limits(max_connections=1)
    headers = {"X-Tenant-ID": str(uuid4())}
    with httpx.Client(base_url=running_stack.base_url, headers=headers, limits=limits, timeout=30) as client:
        yield client


def spoken(stack: RunningStack, request: bytes) -> bytes:
    """What the server answers to exactly these bytes."""
    address = urlsplit(stack.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_may_be_sent_in_chunks(client: httpx.Client) -> None:
    body = json.dumps(episode()).encode()
    answer = client.post("/v1/episodes", content=(body[start : start + 10] for start in range(0, len(body), 10)))
    assert answer.status_code == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_and_the_connection_goes_on(client: httpx.Client, chunked: bool) -> None:
    body = b" " * (16 * 1024 * 1024 + 1)
    answer = client.post("/v1/episodes", content=iter([body]) if chunked else body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert client.post("/v1/episodes", json=episode()).status_code == 201


def test_a_body_as_large_as_allowed_is_stored(client: httpx.Client) -> None:
    text = "x" * (16 * 1024 * 1024 - 1000)
    assert client.post("/v1/episodes", json=episode(payload={"blob": text})).status_code == 201


def test_a_broken_chunk_is_the_callers_fault(running_stack: RunningStack) -> None:
    answer = spoken(
        running_stack,
        b"POST /v1/episodes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("subject", ["repo:acme/shop", "ends/", "a?b#c", "東京"])
def test_an_encoded_name_reaches_its_subject(client: httpx.Client, subject: str) -> None:
    client.post("/v1/episodes", json=episode(subject_id=subject)).raise_for_status()
    encoded = "".join(f"%{byte:02X}" for byte in subject.encode())
    deleted = client.delete(f"/v1/subjects/{encoded}").json()
    assert (deleted["subject_id"], deleted["episodes_deleted"]) == (subject, 1)


def test_bytes_that_are_no_text_name_no_subject(running_stack: RunningStack) -> None:
    answer = spoken(running_stack, b"DELETE /v1/subjects/a%FFb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 422 ")


def test_head_has_a_length_and_no_body(client: httpx.Client) -> None:
    answer = client.head("/healthz")
    assert answer.headers["content-length"] == str(len(client.get("/healthz").content))
    assert answer.content == b""


def test_a_line_that_is_too_long_is_refused_as_everything_is(client: httpx.Client) -> None:
    answer = client.get("/v1/subjects", params={"limit": "9" * 9000})
    assert answer.status_code == 414
    assert answer.json()["error"]["code"] == "uri_too_long"
