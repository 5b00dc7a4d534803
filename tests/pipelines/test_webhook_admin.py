"""Operators see every delivery, send it again, and delete what is finished."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.clock import utcnow
from config.errors import BadRequest, Conflict, NotFound, ValidationFailed
from config.ids import uuid7
from pipelines import webhook_admin, webhook_endpoints
from pipelines.retention import purge_finished_runs
from pipelines.services import Services
from pipelines.webhook_admin import Replayed
from pipelines.webhook_endpoints import EndpointChange
from pipelines.webhook_verdict import Verdict
from storage.transactions import operator_transaction
from storage.webhook_endpoints import MOST_PER_TENANT
from storage.webhook_log import Filter
from tests.fixtures.receiver import Receiver, answer
from tests.pipelines.test_webhook_message import verifies
from tests.pipelines.webhook_stories import accounts, add_endpoint, deliver_due, due, pass_time, say, with_settings


@pytest.fixture
def own(services: Services, receiver: Receiver) -> Services:
    """A server that sends everything to the receiver."""
    return with_settings(services, webhook_url=receiver.url)


@pytest.fixture
def mixed(own: Services, receiver: Receiver) -> Services:
    """Of acme: one delivered, two dead letters, one pending. Of globex: one dead letter."""
    receiver.then(answer(200), answer(400), answer(404), answer(400))
    say(own, "ada", "bob", "eve")
    say(own, "ada", tenant_id="globex")
    assert deliver_due(own) == ["completed", "failed", "failed", "failed"]
    say(own, "ned")
    return own


def listed(services: Services, wanted: Filter | None = None) -> list[tuple[str, str]]:
    page, total = webhook_admin.list_deliveries(services, wanted or Filter(), limit=100, offset=0)
    assert total == len(page)
    return [(delivery.tenant_id, delivery.status) for delivery in page]


def test_the_list_is_newest_first_and_filtered(mixed: Services) -> None:
    assert listed(mixed) == [
        ("acme", "pending"), ("globex", "dead_letter"), ("acme", "dead_letter"), ("acme", "dead_letter"),
        ("acme", "delivered"),
    ]  # fmt: skip
    assert len(listed(mixed, Filter(tenant_id="acme"))) == 4
    assert listed(mixed, Filter(status="dead_letter", tenant_id="globex")) == [("globex", "dead_letter")]
    assert listed(mixed, Filter(event="memories.compiled")) == []
    assert len(listed(mixed, Filter(until=utcnow() - timedelta(hours=1)))) == 0


def test_pages_do_not_overlap_and_know_the_total(mixed: Services) -> None:
    pages = [webhook_admin.list_deliveries(mixed, Filter(), limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [total for _, total in pages] == [5, 5, 5]
    ids = [delivery.id for page, _ in pages for delivery in page]
    assert ids == sorted(ids, reverse=True) and len(ids) == 5


def test_statistics_count_by_status(mixed: Services) -> None:
    assert webhook_admin.statistics(mixed, None) == {"pending": 1, "delivered": 1, "dead_letter": 3}
    assert webhook_admin.statistics(mixed, "globex") == {"pending": 0, "delivered": 0, "dead_letter": 1}


def test_a_delivery_shows_its_history(own: Services, receiver: Receiver) -> None:
    receiver.then(answer(500, b"first"), answer(400, b"second"))
    say(own)
    deliver_due(own)
    pass_time(own)
    deliver_due(own)
    found = webhook_admin.find_delivery(own, accounts(own)[0]["event_id"])
    assert [(entry["attempt"], entry["error"]) for entry in found.history] == [
        (1, "HTTP 500: first"),
        (2, "HTTP 400: second"),
    ]
    assert (found.status, found.http_status, found.next_attempt_at) == ("dead_letter", 400, None)
    assert found.request_id == "request-1"


def test_a_delivery_names_those_of_the_same_event(own: Services) -> None:
    add_endpoint(own, own.settings.webhook_url or "")
    say(own)
    first, second = accounts(own)
    for row in (first, second):
        assert webhook_admin.find_delivery(own, row["id"]).siblings == [first["id"], second["id"]]


def test_an_unknown_delivery_is_not_found(own: Services) -> None:
    with pytest.raises(NotFound):
        webhook_admin.find_delivery(own, uuid7())
    with pytest.raises(NotFound):
        webhook_admin.replay(own, uuid7())


def test_one_is_sent_again_under_its_id_with_all_its_attempts(own: Services, receiver: Receiver) -> None:
    receiver.then(answer(400))
    say(own)
    (run_id,) = due(own)
    deliver_due(own)
    webhook_admin.replay(own, run_id)
    with pytest.raises(Conflict):
        webhook_admin.replay(own, run_id)
    assert deliver_due(own) == ["completed"]
    webhook_admin.replay(own, run_id)
    assert deliver_due(own) == ["completed"]
    assert receiver.ids == [str(run_id)] * 3
    assert [request.headers["X-Statewave-Attempt"] for request in receiver.received] == ["1", "1", "1"]
    assert (accounts(own)[0]["attempts"], len(accounts(own)[0]["errors"])) == (1, 1)


def test_dead_letters_are_sent_again_by_filter_within_bounds_and_once(mixed: Services, receiver: Receiver) -> None:
    only_acme = Filter(tenant_id="acme")
    assert webhook_admin.replay_dead_letters(mixed, only_acme, limit=1) == Replayed(replayed=1, remaining=1)
    assert webhook_admin.replay_dead_letters(mixed, only_acme, limit=10) == Replayed(replayed=1, remaining=0)
    assert webhook_admin.replay_dead_letters(mixed, only_acme, limit=10) == Replayed(replayed=0, remaining=0)
    deliver_due(mixed)
    assert webhook_admin.statistics(mixed, None) == {"pending": 0, "delivered": 4, "dead_letter": 1}
    assert webhook_admin.replay_dead_letters(mixed, Filter(event="episode.created"), limit=10).replayed == 1


def test_only_what_is_finished_is_purged_and_only_by_a_criterion(mixed: Services) -> None:
    for refused in (Filter(), Filter(status="pending"), Filter(status="pending", tenant_id="acme")):
        with pytest.raises(BadRequest):
            webhook_admin.purge(mixed, refused)
    assert webhook_admin.purge(mixed, Filter(status="delivered")) == 1
    assert webhook_admin.purge(mixed, Filter(tenant_id="acme")) == 2
    assert listed(mixed) == [("acme", "pending"), ("globex", "dead_letter")]
    with operator_transaction(mixed.pool) as conn:
        assert conn.execute("select count(*) from runs where kind = 'webhook'").fetchone() == (2,)


def test_delivered_ones_are_kept_for_their_time_and_dead_letters_for_ever(mixed: Services) -> None:
    assert webhook_admin.purge_delivered(mixed) == 0
    with operator_transaction(mixed.pool) as conn:
        conn.execute("update runs set finished_at = finished_at - interval '10 years' where finished_at is not null")
    assert purge_finished_runs(mixed) == 0
    assert webhook_admin.purge_delivered(with_settings(mixed, webhook_retention_hours=0)) == 0
    assert webhook_admin.purge_delivered(mixed) == 1
    assert webhook_admin.statistics(mixed, None) == {"pending": 1, "delivered": 0, "dead_letter": 3}


def test_an_endpoint_is_refused_field_by_field(services: Services) -> None:
    with pytest.raises(ValidationFailed) as refused:
        webhook_endpoints.create_endpoint(
            services, "acme", url="http://10.0.0.1/", events=["no.event"], description="", secret="weak", enabled=True
        )
    assert [problem["loc"] for problem in refused.value.details or []] == [
        ["body", "url"], ["body", "events"], ["body", "secret"],
    ]  # fmt: skip


def test_a_tenant_has_so_many_endpoints_at_most(own: Services) -> None:
    for _ in range(MOST_PER_TENANT):
        add_endpoint(own, "https://hooks.example.com/")
    with pytest.raises(Conflict):
        add_endpoint(own, "https://hooks.example.com/")
    add_endpoint(own, "https://hooks.example.com/", tenant_id="globex")


def test_a_change_leaves_alone_what_it_does_not_name(own: Services) -> None:
    endpoint = add_endpoint(own, "https://hooks.example.com/", events=["subject.deleted"], description="old")
    changed = webhook_endpoints.change_endpoint(own, "acme", endpoint.id, EndpointChange(description="new"))
    assert (changed.description, changed.url, changed.events, changed.secret) == (
        "new", endpoint.url, ["subject.deleted"], endpoint.secret,
    )  # fmt: skip
    disabled = webhook_endpoints.change_endpoint(own, "acme", endpoint.id, EndpointChange(enabled=False))
    assert disabled.disabled_reason == "disabled by an operator"
    everything = webhook_endpoints.change_endpoint(own, "acme", endpoint.id, EndpointChange(events=[], enabled=True))
    assert (everything.events, everything.disabled_reason) == ([], None)


def test_a_new_address_gets_at_once_what_the_old_one_failed_to_take(services: Services, receiver: Receiver) -> None:
    own = with_settings(services)
    endpoint = add_endpoint(own, "http://127.0.0.1:9/")
    say(own, *(f"s{n}" for n in range(8)))
    assert deliver_due(own) == ["pending"] * 8
    webhook_endpoints.change_endpoint(own, "acme", endpoint.id, EndpointChange(url=receiver.url))
    assert all(row["due_in"] <= timedelta(seconds=2) for row in accounts(own))
    pass_time(own)
    assert deliver_due(own) == ["completed"] * 8


def test_another_tenants_endpoint_is_unknown(own: Services) -> None:
    endpoint = add_endpoint(own, "https://hooks.example.com/")
    for attempt in (
        lambda: webhook_endpoints.find_endpoint(own, "globex", endpoint.id),
        lambda: webhook_endpoints.change_endpoint(own, "globex", endpoint.id, EndpointChange(enabled=False)),
        lambda: webhook_endpoints.rotate_secret(own, "globex", endpoint.id, secret=None),
        lambda: webhook_endpoints.delete_endpoint(own, "globex", endpoint.id),
        lambda: webhook_endpoints.try_endpoint(own, "globex", endpoint.id),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert webhook_endpoints.find_endpoint(own, "acme", endpoint.id) == endpoint


def test_a_test_delivery_tells_how_it_went_and_stores_nothing(services: Services, receiver: Receiver) -> None:
    own = with_settings(services)
    endpoint = add_endpoint(own, receiver.url)
    receiver.then(answer(200), answer(401, b"who are you"))
    good, bad = (webhook_endpoints.try_endpoint(own, "acme", endpoint.id) for _ in range(2))
    assert (good.verdict, good.status) == (Verdict.DELIVERED, 200)
    assert (bad.verdict, bad.status, bad.error) == (Verdict.REFUSED, 401, "HTTP 401: who are you")
    request = receiver.received[0]
    assert (request.json["event"], request.json["data"]) == ("webhook.test", {"endpoint_id": str(endpoint.id)})
    assert verifies(endpoint.secret, dict(request.headers), request.body)
    assert accounts(own) == []
