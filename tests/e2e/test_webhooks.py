"""Webhooks of the running product: a real worker sends them, and its death costs a repetition, never a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.databases import DatabaseMaker
from tests.fixtures.receiver import Receiver, answer, hang, listening
from tests.fixtures.stack import RunningStack, start_stack

#: Longer than anything here takes on a busy machine; a test that needs it has failed.
PATIENCE_SECONDS = 60.0


@pytest.fixture
def stack(new_database: DatabaseMaker, tmp_path: Path, receiver: Receiver) -> Iterator[RunningStack]:
    """A stack that tells the receiver everything."""
    with start_stack(
        new_database,
        tmp_path,
        webhook_url=receiver.url,
        webhook_allow_private="true",
        webhook_timeout="30",
        auto_compile_after_seconds="0.2",
        lease_seconds="1",
        api_workers="2",
    ) as running:
        yield running


def eventually(look: Callable[[], Any]) -> Any:
    """What `look` gives once it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def say(stack: RunningStack, subject_id: str) -> None:
    payload = {"messages": [{"role": "user", "content": "My name is Ada Moreau."}]}
    body = {"subject_id": subject_id, "source": "chat", "type": "message", "payload": payload}
    httpx.post(f"{stack.base_url}/v1/episodes", json=body).raise_for_status()


def counts(stack: RunningStack) -> dict[str, int]:
    found: dict[str, int] = httpx.get(f"{stack.base_url}/admin/webhooks/stats").json()
    return found


def test_what_happens_is_told_in_its_order_of_causes(stack: RunningStack, receiver: Receiver) -> None:
    say(stack, "ada")
    eventually(lambda: counts(stack)["delivered"] == 2)
    httpx.delete(f"{stack.base_url}/v1/subjects/ada").raise_for_status()
    eventually(lambda: len(receiver.received) == 3)
    told = [request.json for request in receiver.received]
    assert [event["event"] for event in told] == ["episode.created", "memories.compiled", "subject.deleted"]
    assert told[1]["data"] == {"subject_id": "ada", "memories_created": told[2]["data"]["memories_deleted"]}


def test_a_new_endpoint_of_a_tenant_hears_of_the_next_event_whichever_process_takes_it(
    stack: RunningStack, receiver: Receiver
) -> None:
    with listening() as other:
        made = httpx.post(f"{stack.base_url}/admin/tenants/-/webhooks", json={"url": other.url})
        assert made.status_code == 201
        say(stack, "ada")
        eventually(lambda: other.received and receiver.received)
        assert other.received[0].id == receiver.received[0].id


def test_a_worker_killed_while_the_receiver_thinks_is_followed_by_another(
    stack: RunningStack, receiver: Receiver
) -> None:
    receiver.usually = hang
    say(stack, "ada")
    eventually(lambda: receiver.received)
    stack.processes["worker"].kill()
    receiver.usually = answer(204)
    receiver.released.set()
    stack.restart("worker")
    eventually(lambda: counts(stack) == {"pending": 0, "delivered": 2, "dead_letter": 0, "total": 2})
    by_event = {request.json["event"]: request.id for request in receiver.received}
    assert set(receiver.ids) == set(by_event.values())
    assert receiver.ids.count(by_event["episode.created"]) == 2
