"""One attempt at a delivery, and what follows from it.

The attempt is made between two transactions. A worker that dies after the receiver has taken the message and before
that is committed leaves a run whose lease ends; another sends the message again, under the same `webhook-id`. That is
the one way in which a receiver sees it twice.

An endpoint in trouble is a circuit breaker in the database, shared by all workers: after `FAILURES` failures in a row
nothing is sent to it for a while, then one delivery tries for all. Deliveries that wait meanwhile use up no attempts,
and when the one succeeds they all go at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import msgspec
import structlog

from config.clock import utcnow
from config.settings import Settings
from pipelines import webhook_http, webhook_message
from pipelines.backoff import WEBHOOK
from pipelines.services import Services
from pipelines.webhook_http import DeliveryFailed, TargetRefused
from pipelines.webhook_lanes import Lanes
from pipelines.webhook_verdict import OVERLOADED, Verdict, judge, retry_after
from storage import runs, webhook_deliveries, webhook_endpoints
from storage.rows import Run
from storage.transactions import Connection, operator_transaction
from storage.webhook_deliveries import GLOBAL_ENDPOINT, Delivery

log = structlog.get_logger()

#: Failures in a row that open an endpoint's breaker.
FAILURES = 5

#: Time for which a breaker opens first; it doubles with each further failure, up to the longest.
FIRST_BREAK = timedelta(seconds=15)
LONGEST_BREAK = timedelta(minutes=15)

#: Time after which a delivery is a dead letter, attempts left or not; counted from when it was first due.
MOST_TRYING = timedelta(days=3)

#: Seconds over which the deliveries that waited for an endpoint are spread once it is well again.
HURRY_SECONDS = 2.0

#: Seconds, at most, that a delivery waits when its process has no room for another to the same endpoint.
NO_ROOM_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt went. `status` is None when there was no answer; `pause` is what the receiver asked for."""

    verdict: Verdict
    status: int | None
    error: str
    pause: timedelta
    milliseconds: int


def deliver(services: Services, run: Run) -> Run | None:
    """Attempt the delivery of a claimed run and commit what became of it.

    Returns:
        The run as it stands then; None when it was lost to another worker or erased with its subject.
    """
    with operator_transaction(services.pool) as conn:
        delivery = webhook_deliveries.load(conn, run)
    if delivery is None:
        return None
    address = _address(services.settings, delivery)
    if address is None:
        reason = f"the endpoint is {'deleted' if delivery.enabled is None else 'disabled'}"
        return _give_up(services, run, f"{reason}: {delivery.disabled_reason}" if delivery.disabled_reason else reason)
    url, secrets = address
    with _lanes(services.settings.worker_threads).entered(delivery.endpoint_id) as free:
        if not free:
            return _wait(services, run, delivery, timedelta(seconds=random.uniform(0.2, NO_ROOM_SECONDS)))
        alone, wait = _ask_breaker(services, delivery)
        if wait is not None:
            return _wait(services, run, delivery, wait * (1 + random.random()))
        attempt = send(services.settings, delivery, url, secrets, tenant_id=run.tenant_id, attempt=run.attempts)
    return _record(services, run, delivery, attempt, alone=alone)


def send(
    settings: Settings, delivery: Delivery, url: str, secrets: Sequence[str], *, tenant_id: str, attempt: int
) -> Attempt:
    """Make one attempt; `attempt` is its number. Raises nothing that a receiver can cause."""
    body = webhook_message.encode_body(delivery.event, delivery.created_at, delivery.data)
    now = utcnow()
    headers = webhook_message.headers(
        body,
        event=delivery.event,
        event_id=delivery.event_id,
        tenant_id=tenant_id,
        attempt=attempt,
        secrets=secrets,
        now=now,
    )
    began = time.perf_counter()
    try:
        answer = webhook_http.post(
            url,
            body,
            headers,
            timeout_seconds=settings.webhook_timeout,
            allow_private=settings.webhook_allow_private,
        )
    except DeliveryFailed as ex:
        verdict = Verdict.REFUSED if isinstance(ex, TargetRefused) else Verdict.RETRY
        return Attempt(verdict, None, str(ex), timedelta(0), _since(began))
    error = f"HTTP {answer.status}" + (f": {answer.excerpt}" if answer.excerpt else "")
    pause = retry_after(answer.retry_after, now)
    return Attempt(judge(answer.status), answer.status, error, pause, _since(began))


def _address(settings: Settings, delivery: Delivery) -> tuple[str, Sequence[str]] | None:
    """Where the delivery goes and the secrets that sign it; None when its endpoint is gone or disabled."""
    if delivery.endpoint_id == GLOBAL_ENDPOINT:
        return (settings.webhook_url, settings.webhook_secret) if settings.webhook_url else None
    return (delivery.url, delivery.secrets) if delivery.url and delivery.enabled else None


def _ask_breaker(services: Services, delivery: Delivery) -> tuple[bool, timedelta | None]:
    """Whether this delivery tries for all of its endpoint, and how long it must wait if it must not go."""
    if not delivery.breaker_open:
        return False, None
    # Long enough for the attempt and its commit; should this worker die, another delivery tries after it.
    window = timedelta(seconds=2 * services.settings.webhook_timeout + 5)
    with operator_transaction(services.pool) as conn:
        if webhook_endpoints.try_alone(conn, delivery.endpoint_id, window=window):
            return True, None
        return False, webhook_endpoints.open_for(conn, delivery.endpoint_id)


def _wait(services: Services, run: Run, delivery: Delivery, delay: timedelta) -> Run | None:
    if delivery.trying_for > MOST_TRYING:
        return _give_up(services, run, f"not delivered within {MOST_TRYING.days} days: the endpoint is in trouble")
    with operator_transaction(services.pool) as conn:
        kept = runs.postpone(conn, run, delay=delay)
    return msgspec.structs.replace(run, state="pending") if kept else None


def _give_up(services: Services, run: Run, reason: str) -> Run | None:
    with operator_transaction(services.pool) as conn:
        kept = runs.fail(conn, run, error=reason)
    return msgspec.structs.replace(run, state="failed") if kept else None


def _record(services: Services, run: Run, delivery: Delivery, attempt: Attempt, *, alone: bool) -> Run | None:
    """Commit what an attempt led to, together with what it says about the endpoint."""
    with operator_transaction(services.pool) as conn:
        # The run before the breaker, as everywhere. The breaker learns from every answer, also when the delivery
        # is somebody else's by now.
        state = _settle(conn, run, delivery, attempt)
        closed_for = _note_health(conn, run, delivery, attempt, alone=alone)
        if state is None:
            return None
        webhook_deliveries.record_attempt(conn, run, http_status=attempt.status)
        if state == "pending":
            delay = max(WEBHOOK.delay(run.attempts), attempt.pause, closed_for)
            runs.retry_later(conn, run, delay=delay, error=attempt.error)
    if state != "completed":
        log.warning(
            "webhook not delivered",
            endpoint_id=str(delivery.endpoint_id),
            event_id=str(delivery.event_id),
            attempt=run.attempts,
            http_status=attempt.status,
            verdict=attempt.verdict.value,
            dead_letter=state == "failed",
        )
    return msgspec.structs.replace(run, state=state)


def _settle(conn: Connection, run: Run, delivery: Delivery, attempt: Attempt) -> str | None:
    """Finish the run if the attempt settles it; the state it is to have, None when it was lost."""
    if attempt.verdict is Verdict.DELIVERED:
        result = {"http_status": attempt.status, "milliseconds": attempt.milliseconds}
        return "completed" if runs.complete(conn, run, result=result) else None
    if attempt.verdict is not Verdict.RETRY or _is_spent(run, delivery):
        return "failed" if runs.fail(conn, run, error=attempt.error) else None
    return "pending" if runs.hold(conn, run) else None


def _is_spent(run: Run, delivery: Delivery) -> bool:
    return WEBHOOK.exhausted(run.attempts) or delivery.trying_for > MOST_TRYING


def _note_health(conn: Connection, run: Run, delivery: Delivery, attempt: Attempt, *, alone: bool) -> timedelta:
    """Tell the endpoint's breaker how it went.

    A refusal is an answer: the endpoint is there, and it is this message that it does not want.

    Returns:
        How long nothing will be sent to the endpoint; zero when deliveries go on.
    """
    endpoint_id = delivery.endpoint_id
    if attempt.verdict is Verdict.RETRY:
        opened = webhook_endpoints.trouble(
            conn,
            "" if endpoint_id == GLOBAL_ENDPOINT else run.tenant_id,
            endpoint_id,
            alone=alone,
            pause=attempt.pause if attempt.status in OVERLOADED else timedelta(0),
            threshold=FAILURES,
            first=FIRST_BREAK,
            longest=LONGEST_BREAK,
        )
        if opened is not None:
            log.warning("webhook endpoint rests", endpoint_id=str(endpoint_id), seconds=round(opened.total_seconds()))
        return opened or timedelta(0)
    if attempt.verdict is Verdict.GONE and endpoint_id != GLOBAL_ENDPOINT:
        webhook_endpoints.disable(conn, endpoint_id, reason="the receiver answered 410 Gone")
    elif delivery.in_trouble and webhook_endpoints.well_again(conn, endpoint_id):
        waiting = webhook_deliveries.hurry(conn, endpoint_id, spread_seconds=HURRY_SECONDS)
        log.info("webhook endpoint is well again", endpoint_id=str(endpoint_id), waiting=waiting)
    return timedelta(0)


@lru_cache(maxsize=1)
def _lanes(threads: int) -> Lanes:
    """The lanes of this process."""
    return Lanes(threads)


def _since(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)
