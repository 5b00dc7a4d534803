"""Limits and metering of the running product: several API processes count together, and what was used is kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.databases import DatabaseMaker
from tests.fixtures.receiver import Receiver
from tests.fixtures.stack import RunningStack, start_stack

#: Longer than anything here takes on a busy machine; a test that needs it has failed.
PATIENCE_SECONDS = 60.0

LIMIT = 30


@pytest.fixture
def stack(new_database: DatabaseMaker, tmp_path: Path, receiver: Receiver) -> Iterator[RunningStack]:
    """Two API processes with a limit per tenant, behind a proxy that is trusted."""
    with start_stack(
        new_database,
        tmp_path,
        api_workers="2",
        rate_limit_tenant_rpm=str(LIMIT),
        trusted_proxies="127.0.0.1",
        auto_compile_after_seconds="0.2",
        webhook_url=receiver.url,
        webhook_allow_private="true",
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


def failed_open(client: httpx.Client) -> int:
    """Requests that were let through because Redis did not answer, in all API processes."""
    pattern = r'statewave_rate_limit_checks_total\{kind="tenant",outcome="failed_open"\} (\d+)'
    found = re.search(pattern, client.get("/metrics").text)
    return int(found[1]) if found else 0


def used(stack: RunningStack) -> dict[tuple[str, str], int]:
    with psycopg.connect(stack.database_url) as conn:
        rows = conn.execute("select tenant_id, meter, sum(quantity)::int from usage_days group by 1, 2").fetchall()
    return {(tenant, meter): quantity for tenant, meter, quantity in rows}


def test_processes_count_together_and_write_down_what_was_used(stack: RunningStack, receiver: Receiver) -> None:
    payload = {"messages": [{"role": "user", "content": "My name is Ada Moreau."}]}
    body = {"subject_id": "ada", "source": "chat", "type": "message", "payload": payload}
    answer = httpx.post(f"{stack.base_url}/v1/episodes", json=body, headers={"X-Tenant-ID": "acme"})
    assert answer.status_code == 201
    assert answer.headers["RateLimit-Policy"] == f'"tenant";q={LIMIT};w=60'
    eventually(lambda: {request.headers["x-statewave-event"] for request in receiver.received} >= {"memories.compiled"})

    with httpx.Client(base_url=stack.base_url, headers={"X-Tenant-ID": "busy"}, timeout=30) as client:

        def ask(_: int) -> int:
            return client.get("/v1/timeline?subject_id=ada").status_code

        began = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(ask, range(2 * LIMIT)))
        # Room for one request comes back every 60 / LIMIT seconds. A busy machine takes long, or lets Redis take so
        # long that requests are let through.
        regained = int((time.monotonic() - began) * LIMIT / 60) + 1
        allowed = statuses.count(200)
        assert LIMIT <= allowed <= LIMIT + regained + failed_open(client)
        assert allowed + statuses.count(429) == 2 * LIMIT

        stack.redis.stop()
        assert [ask(i) for i in range(10)] == [200] * 10
        assert failed_open(client) >= 10
    stack.stop()
    found = used(stack)
    assert found["busy", "requests"] == allowed + 10
    own = {meter: quantity for (tenant, meter), quantity in found.items() if tenant == "acme"}
    assert own["requests"] == own["episodes"] == own["compile_jobs"] == 1
    assert own["memories"] >= 1
    assert own["webhooks"] == len(receiver.received)
