"""Receivers of webhooks in every kind of trouble, and a worker that dies in the middle of it."""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.drills.ledger import Books, eventually, operator
from tests.drills.report import Report
from tests.fixtures.receiver import Behaviour, Receiver, answer, hang, listening, reset
from tests.fixtures.stack import RunningStack

KINDS = ("well", "slow", "flapping", "gone", "redirecting", "resetting")


@pytest.fixture
def receivers() -> Iterator[dict[str, Receiver]]:
    with ExitStack() as opened:
        yield {kind: opened.enter_context(listening()) for kind in KINDS}


def misbehave(receivers: dict[str, Receiver], resets: int) -> None:
    receivers["slow"].then(*[hang] * 3)
    receivers["slow"].usually = slowly
    receivers["flapping"].usually = alternating(answer(503), answer(204))
    receivers["gone"].usually = answer(410)
    receivers["redirecting"].usually = answer(308, Location=receivers["well"].url + "&redirected=yes")
    receivers["resetting"].then(*[reset] * resets)


def slowly(receiver: Receiver, sock: socket.socket) -> None:
    receiver.released.wait(0.1)
    answer(204)(receiver, sock)


def alternating(*behaviours: Behaviour) -> Behaviour:
    turns = itertools.cycle(behaviours)

    def behave(receiver: Receiver, sock: socket.socket) -> None:
        with receiver.lock:
            turn = next(turns)
        turn(receiver, sock)

    return behave


@pytest.mark.usefixtures("short_leases")
def test_webhook_endpoints_in_trouble(
    stack: RunningStack, receivers: dict[str, Receiver], form: str, report: Report
) -> None:
    books = Books(stack)
    events, kills = (12, 1) if form == "short" else (150, 6)
    misbehave(receivers, resets=2 * events)
    endpoints = {kind: add_endpoint(stack, books.tenant, receiver.url) for kind, receiver in receivers.items()}
    set_queue(stack, "pause")
    for number in range(events):
        assert books.send(f"s{number}", 2)
    ids = event_ids(books)
    assert len(ids) == events
    set_queue(stack, "resume")
    for _ in range(kills):
        # One that is over between two looks backs off for minutes, so time passes until one is seen.
        assert eventually(lambda: pass_time(books) or in_flight(books) > 0 or pending(books) == 0), outcomes(books)
        stack.restart("worker")
    assert eventually(lambda: pass_time(books) or pending(books) == 0), outcomes(books)

    dead = {"gone", "redirecting"}
    assert outcomes(books) == {
        (endpoints[kind], "failed" if kind in dead else "completed"): events for kind in KINDS
    }, endpoints
    # A worker that dies between connecting and sending leaves a request without an id.
    received = {kind: [event_id for event_id in receivers[kind].ids if event_id] for kind in KINDS}
    assert {kind: ids - set(received[kind]) for kind in KINDS if kind != "gone"} == {
        kind: set() for kind in KINDS if kind != "gone"
    }, "nothing is lost"
    assert all(set(received[kind]) <= ids for kind in KINDS), "and nothing else is sent"
    claims = claims_of(books)
    assert all(len(received[kind]) <= claims[endpoints[kind]] for kind in KINDS), "each request has a claim of its own"
    repeated = {kind: len(received[kind]) - len(set(received[kind])) for kind in KINDS}
    assert not any("redirected" in request.line for request in receivers["well"].received)
    assert is_disabled(stack, books.tenant, endpoints["gone"])
    report.note(
        deliveries=events * len(KINDS),
        delivered=events * 4,
        dead_letters=events * 2,
        worker_kills=kills,
        repeated_under_their_id=sum(repeated.values()),
        lost=0,
    )


def add_endpoint(stack: RunningStack, tenant: str, url: str) -> str:
    body = {"url": url, "events": ["episodes.batch_created"]}
    answer = httpx.post(f"{stack.base_url}/admin/tenants/{tenant}/webhooks", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def is_disabled(stack: RunningStack, tenant: str, endpoint_id: str) -> bool:
    answer = httpx.get(f"{stack.base_url}/admin/tenants/{tenant}/webhooks/{endpoint_id}", timeout=30)
    return answer.json()["enabled"] is False


def set_queue(stack: RunningStack, what: str) -> None:
    httpx.post(f"{stack.base_url}/admin/queues/webhooks/{what}", timeout=30).raise_for_status()


def event_ids(books: Books) -> set[str]:
    with operator(books.stack) as conn:
        rows = conn.execute("select distinct event_id from webhook_deliveries where tenant_id = %s", (books.tenant,))
        return {str(event_id) for (event_id,) in rows}


def outcomes(books: Books) -> Counter[tuple[str, str]]:
    """How many deliveries of each endpoint are in each state."""
    with operator(books.stack) as conn:
        rows = conn.execute(
            "select d.endpoint_id, r.state from webhook_deliveries d join runs r using (id) where d.tenant_id = %s",
            (books.tenant,),
        ).fetchall()
    return Counter((str(endpoint_id), state) for endpoint_id, state in rows)


def claims_of(books: Books) -> dict[str, int]:
    """How often workers took the deliveries of each endpoint."""
    with operator(books.stack) as conn:
        rows = conn.execute(
            "select d.endpoint_id, sum((r.timings -> 'deliver' ->> 'claims')::int)"
            "  from webhook_deliveries d join runs r using (id) where d.tenant_id = %s group by 1",
            (books.tenant,),
        ).fetchall()
    return {str(endpoint_id): int(claims) for endpoint_id, claims in rows}


def pending(books: Books) -> int:
    return sum(count for (_, state), count in outcomes(books).items() if state in ("pending", "running"))


def in_flight(books: Books) -> int:
    with operator(books.stack) as conn:
        row = conn.execute(
            "select count(*) from runs where tenant_id = %s and kind = 'webhook' and lease_until > now()",
            (books.tenant,),
        ).fetchone()
    assert row is not None
    return int(row[0])


def pass_time(books: Books) -> None:
    """Hours of backing off go by: all that waits is due, and breakers may be tried."""
    with operator(books.stack) as conn:
        conn.execute(
            "update runs set run_after = now()"
            " where tenant_id = %s and kind = 'webhook' and state = 'pending' and run_after > now()",
            (books.tenant,),
        )
        conn.execute("update webhook_breakers set open_until = now() where open_until > now()")
