"""Every event arrives: at least once on the wire, accounted for exactly once in the rows."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from config.webhooks import new_secret
from pipelines import operations, webhook_delivery, webhook_endpoints
from pipelines.backoff import WEBHOOK
from pipelines.erasure import erase_subject
from pipelines.services import Services
from pipelines.webhook_endpoints import EndpointChange
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction
from tests.fixtures.faults import Killed, Killer
from tests.fixtures.receiver import Behaviour, Receiver, answer, endless, hang, listening, reset
from tests.pipelines.test_webhook_message import verifies
from tests.pipelines.webhook_stories import (
    LEASE,
    accounts,
    add_endpoint,
    deliver,
    deliver_due,
    due,
    pass_time,
    say,
    with_settings,
)


@pytest.fixture
def own(services: Services, receiver: Receiver) -> Services:
    """A server that sends everything to the receiver."""
    return with_settings(services, webhook_url=receiver.url)


def only(services: Services) -> dict[str, Any]:
    (row,) = accounts(services)
    return row


def test_an_event_arrives_as_the_contract_says(own: Services, receiver: Receiver) -> None:
    say(own)
    assert deliver_due(own) == ["completed"]
    row = only(own)
    assert (row["state"], row["attempts"], row["http_status"], row["error"]) == ("completed", 1, 204, None)
    (request,) = receiver.received
    assert request.json.keys() == {"event", "timestamp", "data"}
    assert request.json["event"] == "episode.created"
    assert request.json["data"] == row["data"]
    assert request.id == str(row["event_id"])
    assert request.headers["X-Statewave-Attempt"] == "1"
    assert request.headers["X-Statewave-Tenant"] == "acme"
    assert request.headers["Content-Type"] == "application/json"


def test_without_a_secret_nothing_is_signed(own: Services, receiver: Receiver) -> None:
    say(own)
    deliver_due(own)
    assert "webhook-signature" not in receiver.received[0].headers


def test_the_global_secret_signs_and_while_it_changes_both_do(own: Services, receiver: Receiver) -> None:
    new, old = new_secret(), new_secret()
    say(own)
    deliver_due(with_settings(own, webhook_secret=(new, old)))
    (request,) = receiver.received
    assert verifies(new, dict(request.headers), request.body)
    assert verifies(old, dict(request.headers), request.body)


def test_each_endpoint_is_signed_with_its_own_secret(services: Services, receiver: Receiver) -> None:
    own = with_settings(services)
    with listening() as other:
        mine, theirs = add_endpoint(own, receiver.url), add_endpoint(own, other.url)
        say(own)
        deliver_due(own)
        assert receiver.ids == other.ids
        for endpoint, heard in ((mine, receiver), (theirs, other)):
            assert verifies(endpoint.secret, dict(heard.received[0].headers), heard.received[0].body)
        assert not verifies(mine.secret, dict(other.received[0].headers), other.received[0].body)


def test_a_rotated_secret_signs_beside_the_new_one_until_its_time_is_over(
    services: Services, receiver: Receiver
) -> None:
    own = with_settings(services)
    before = add_endpoint(own, receiver.url)
    after = webhook_endpoints.rotate_secret(own, "acme", before.id, secret=None)
    say(own)
    deliver_due(own)
    with operator_transaction(own.pool) as conn:
        conn.execute("update webhook_endpoints set former_secret_until = now()")
    say(own)
    deliver_due(own)
    during, later = receiver.received
    assert verifies(before.secret, dict(during.headers), during.body)
    assert verifies(after.secret, dict(during.headers), during.body)
    assert verifies(after.secret, dict(later.headers), later.body)
    assert not verifies(before.secret, dict(later.headers), later.body)


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (answer(500, b"oops"), 500),
        (answer(503), 503),
        (answer(408), 408),
        (answer(409), 409),
        (answer(425), 425),
        (answer(429), 429),
        (answer(302, Location="http://127.0.0.1:1/"), 302),
        (endless(b"HTTP/1.1 502 No\r\n\r\n"), 502),
        (hang, None),
        (reset, None),
    ],
)
def test_a_passing_trouble_is_tried_again_under_the_same_id(
    own: Services, receiver: Receiver, behaviour: Behaviour, status: int | None
) -> None:
    receiver.then(behaviour)
    say(own)
    patience = 0.5 if behaviour is hang else own.settings.webhook_timeout
    assert deliver_due(with_settings(own, webhook_timeout=patience)) == ["pending"]
    row = only(own)
    assert (row["state"], row["attempts"], row["http_status"]) == ("pending", 1, status)
    assert row["error"] and [entry["error"] for entry in row["errors"]] == [row["error"]]
    assert row["due_in"] <= timedelta(seconds=WEBHOOK.ceiling(1))
    pass_time(own)
    assert deliver_due(own) == ["completed"]
    assert only(own)["http_status"] == 204
    first, second = receiver.received
    assert first.id == second.id
    assert first.body == second.body
    assert [request.headers["X-Statewave-Attempt"] for request in receiver.received] == ["1", "2"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 301, 308])
def test_a_refusal_is_a_dead_letter_at_once(own: Services, receiver: Receiver, status: int) -> None:
    receiver.then(answer(status, b"we do not want this", Location=receiver.url))
    say(own)
    assert deliver_due(own) == ["failed"]
    row = only(own)
    assert (row["state"], row["attempts"], row["http_status"]) == ("failed", 1, status)
    assert row["error"] == f"HTTP {status}: we do not want this"
    pass_time(own)
    assert deliver_due(own) == []
    assert len(receiver.received) == 1


def test_a_private_target_is_a_dead_letter_at_once_and_never_called(own: Services, receiver: Receiver) -> None:
    say(own)
    assert deliver_due(with_settings(own, webhook_allow_private=False)) == ["failed"]
    assert "not on the public internet" in only(own)["error"]
    assert receiver.received == []


def test_retry_after_is_honoured(own: Services, receiver: Receiver) -> None:
    receiver.then(answer(503, Retry_After="900"))
    say(own)
    deliver_due(own)
    assert timedelta(seconds=890) < only(own)["due_in"] <= timedelta(seconds=900)


def test_a_receiver_that_asks_for_rest_gets_it_from_all_deliveries(own: Services, receiver: Receiver) -> None:
    receiver.then(answer(429, Retry_After="600"))
    say(own, "ada", "bob", "eve")
    assert deliver_due(own) == ["pending"] * 3
    assert len(receiver.received) == 1
    assert [row["attempts"] for row in accounts(own)] == [1, 0, 0]
    pass_time(own)
    deliver_due(own)
    pass_time(own)
    deliver_due(own)
    assert [row["state"] for row in accounts(own)] == ["completed"] * 3


def test_attempts_end(own: Services, receiver: Receiver) -> None:
    receiver.usually = answer(500)
    say(own)
    for _ in range(WEBHOOK.attempts + 3):
        deliver_due(own)
        pass_time(own)
    row = only(own)
    assert (row["state"], row["attempts"]) == ("failed", WEBHOOK.attempts)
    assert len(row["errors"]) == WEBHOOK.attempts == len(receiver.received)
    assert len(set(receiver.ids)) == 1


def test_after_some_failures_an_endpoint_rests_and_others_use_up_no_attempts(own: Services, receiver: Receiver) -> None:
    receiver.usually = answer(500)
    say(own, *(f"s{n}" for n in range(12)))
    assert deliver_due(own) == ["pending"] * 12
    assert len(receiver.received) == webhook_delivery.FAILURES
    assert Counter(row["attempts"] for row in accounts(own)) == {1: webhook_delivery.FAILURES, 0: 7}


def test_then_one_tries_for_all_and_the_rest_grows_with_each_failure(own: Services, receiver: Receiver) -> None:
    receiver.usually = answer(500)
    say(own, *(f"s{n}" for n in range(12)))
    deliver_due(own)
    rests = []
    for tries in range(1, 9):
        pass_time(own)
        deliver_due(own)
        assert len(receiver.received) == webhook_delivery.FAILURES + tries
        with operator_transaction(own.pool) as conn:
            ((rest,),) = conn.execute("select open_until - now() from webhook_breakers").fetchall()
        rests.append(round(rest / webhook_delivery.FIRST_BREAK))
    most = webhook_delivery.LONGEST_BREAK // webhook_delivery.FIRST_BREAK
    assert rests == [min(2**n, most) for n in range(1, 9)]


def test_when_it_is_well_again_all_that_waited_goes(own: Services, receiver: Receiver) -> None:
    receiver.usually = answer(500)
    say(own, *(f"s{n}" for n in range(12)))
    deliver_due(own)
    receiver.usually = answer(200)
    with operator_transaction(own.pool) as conn:
        conn.execute("update webhook_breakers set open_until = now()")
        conn.execute("update runs set run_after = now() where id = (select id from runs order by id limit 1)")
    assert deliver_due(own) == ["completed"]
    assert max(row["due_in"] for row in accounts(own)) <= timedelta(seconds=webhook_delivery.HURRY_SECONDS)
    pass_time(own)
    assert deliver_due(own) == ["completed"] * 11
    with operator_transaction(own.pool) as conn:
        assert conn.execute("select count(*) from webhook_breakers").fetchone() == (0,)
    assert len(set(receiver.ids)) == 12


def test_a_failing_endpoint_does_not_hold_up_another(services: Services, receiver: Receiver) -> None:
    own = with_settings(services)
    receiver.usually = answer(500)
    with listening() as good:
        bad_endpoint, good_endpoint = add_endpoint(own, receiver.url), add_endpoint(own, good.url)
        say(own, *(f"s{n}" for n in range(10)))
        deliver_due(own)
        assert len(good.received) == 10
    states = Counter((row["endpoint_id"], row["state"]) for row in accounts(own))
    assert states == {(bad_endpoint.id, "pending"): 10, (good_endpoint.id, "completed"): 10}


def test_a_flapping_receiver_gets_everything_once(own: Services, receiver: Receiver) -> None:
    receiver.then(*(answer(500) if n % 2 else answer(200) for n in range(20)))
    say(own, *(f"s{n}" for n in range(15)))
    for _ in range(12):
        deliver_due(own)
        pass_time(own)
    rows = accounts(own)
    assert [row["state"] for row in rows] == ["completed"] * 15
    assert set(receiver.ids) == {str(row["event_id"]) for row in rows}
    assert len(receiver.received) == sum(row["attempts"] for row in rows)


def test_an_endpoint_that_never_recovers_ends_in_dead_letters(own: Services, receiver: Receiver) -> None:
    receiver.usually = answer(500)
    say(own, *(f"s{n}" for n in range(7)))
    deliver_due(own)
    with operator_transaction(own.pool) as conn:
        conn.execute("update runs set started_at = now() - %s, run_after = now()", (webhook_delivery.MOST_TRYING,))
    assert deliver_due(own) == ["failed"] * 7
    assert len(receiver.received) == webhook_delivery.FAILURES


def test_a_dead_letter_that_an_operator_retries_days_later_has_all_its_time_again(
    own: Services, receiver: Receiver
) -> None:
    receiver.usually = answer(400)
    say(own)
    assert deliver_due(own) == ["failed"]
    with operator_transaction(own.pool) as conn:
        conn.execute("update runs set started_at = now() - %s", (2 * webhook_delivery.MOST_TRYING,))
    receiver.usually = answer(503)
    operations.retry_run(own.pool, the_run(own))
    assert deliver_due(own) == ["pending"], "it waits for the next attempt instead of being spent at once"


def the_run(services: Services) -> UUID:
    with operator_transaction(services.pool) as conn:
        ((run_id,),) = conn.execute("select id from runs where kind = 'webhook'").fetchall()
    return UUID(str(run_id))


def test_gone_disables_the_endpoint_of_a_tenant(services: Services, receiver: Receiver) -> None:
    own = with_settings(services)
    endpoint = add_endpoint(own, receiver.url)
    say(own, "ada", "bob")
    receiver.usually = answer(410)
    assert deliver_due(own) == ["failed", "failed"]
    assert len(receiver.received) == 1
    disabled = webhook_endpoints.find_endpoint(own, "acme", endpoint.id)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "the receiver answered 410 Gone")
    assert accounts(own)[1]["error"] == "the endpoint is disabled: the receiver answered 410 Gone"
    say(own)
    assert len(accounts(own)) == 2
    webhook_endpoints.change_endpoint(own, "acme", endpoint.id, EndpointChange(enabled=True))
    say(own)
    assert len(accounts(own)) == 3


def test_gone_is_a_plain_refusal_from_the_global_endpoint(own: Services, receiver: Receiver) -> None:
    receiver.then(answer(410))
    say(own, "ada", "bob")
    assert deliver_due(own) == ["failed", "completed"]


def test_events_of_an_address_that_is_no_longer_set_are_dead_letters(own: Services) -> None:
    say(own)
    assert deliver_due(with_settings(own, webhook_url=None)) == ["failed"]
    assert only(own)["error"] == "the endpoint is deleted"


def test_a_deleted_endpoint_takes_with_it_what_it_did_not_get(services: Services, receiver: Receiver) -> None:
    own = with_settings(services)
    endpoint = add_endpoint(own, receiver.url)
    receiver.then(answer(200), answer(400), answer(500))
    say(own, "s1", "s2", "s3", "s4")
    for run_id in due(own)[:3]:
        deliver(own, run_id)
    assert webhook_endpoints.delete_endpoint(own, "acme", endpoint.id) == 3
    assert [row["state"] for row in accounts(own)] == ["completed"]


def test_a_worker_that_dies_at_any_moment_costs_at_most_a_repetition(
    own: Services, receiver: Receiver, dying_at: Killer
) -> None:
    """Killed between taking and committing, also after the receiver has the message: it is sent again, same id."""
    repetitions = 0
    for fatal in itertools.count(1):
        before = len(receiver.received)
        say(own, f"s{fatal}")
        (run_id,) = due(own)
        survived = True
        try:
            with dying_at(fatal):
                deliver(own, run_id)
        except Killed:
            survived = False
        pass_time(own)
        assert deliver_due(own) == ([] if survived else ["completed"])
        wire = receiver.received[before:]
        assert {request.id for request in wire} == {str(run_id)}
        assert len({request.body for request in wire}) == 1
        repetitions += len(wire) - 1
        if survived:
            break
    assert repetitions > 0
    rows = accounts(own)
    assert [row["state"] for row in rows] == ["completed"] * fatal


def test_of_many_messages_for_a_delivery_one_is_sent(own: Services, receiver: Receiver) -> None:
    say(own)
    (run_id,) = due(own)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: deliver(own, run_id), range(8)))
    assert [outcome.state for outcome in outcomes if outcome is not None] == ["completed"]
    assert len(receiver.received) == 1


def test_a_worker_whose_lease_was_taken_over_cannot_account_for_its_attempt(
    own: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(own)
    (run_id,) = due(own)
    send = webhook_delivery.send
    overtaken: list[Run | None] = []

    def stall(*args: Any, **kwargs: Any) -> Any:
        attempt = send(*args, **kwargs)
        monkeypatch.setattr(webhook_delivery, "send", send)
        pass_time(own)
        receiver.then(answer(500))
        overtaken.append(deliver(own, run_id))
        return attempt

    monkeypatch.setattr(webhook_delivery, "send", stall)
    assert deliver(own, run_id) is None
    assert overtaken[0] is not None and overtaken[0].state == "pending"
    assert (only(own)["state"], only(own)["http_status"]) == ("pending", 500)


def test_an_erasure_while_the_message_is_under_way_leaves_nothing(
    own: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(own)
    send = webhook_delivery.send

    def erased_meanwhile(*args: Any, **kwargs: Any) -> Any:
        erase_subject(own, "acme", "ada")
        return send(*args, **kwargs)

    monkeypatch.setattr(webhook_delivery, "send", erased_meanwhile)
    assert deliver_due(own) == ["lost"]
    assert [row["event"] for row in accounts(own)] == ["subject.deleted"]


def test_a_delivery_waits_untried_when_its_endpoint_has_its_share_of_threads(own: Services, receiver: Receiver) -> None:
    say(own)
    endpoint_id = only(own)["endpoint_id"]
    with ExitStack() as taken:
        lanes = webhook_delivery._lanes(own.settings.worker_threads)
        while taken.enter_context(lanes.entered(endpoint_id)):
            pass
        assert deliver_due(own) == ["pending"]
    assert only(own)["attempts"] == 0
    assert receiver.received == []
    pass_time(own)
    assert deliver_due(own) == ["completed"]


def test_a_delivery_is_claimed_for_its_stage_only(own: Services) -> None:
    say(own)
    (run_id,) = due(own)
    with operator_transaction(own.pool) as conn:
        assert runs.claim(conn, run_id, stage="compile", lease=LEASE) is None
