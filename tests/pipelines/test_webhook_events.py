"""Events are written with their cause, for those who want them, once; erasing a subject takes it out of all of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pipelines import webhook_events
from pipelines.compile import compile_now
from pipelines.erasure import erase_subject
from pipelines.ingest import append_episodes
from pipelines.services import Services
from storage.transactions import operator_transaction, statements_sent, tenant_transaction
from storage.webhook_deliveries import GLOBAL_ENDPOINT
from storage.webhook_endpoints import MOST_PER_TENANT
from tests.fixtures.faults import Killed, Killer
from tests.pipelines.webhook_stories import accounts, add_endpoint, said, say, with_settings

URL = "https://hooks.example.com/"


@pytest.fixture
def everything(services: Services) -> Services:
    """A server whose events all go to one address."""
    return with_settings(services, webhook_url=URL)


def told(services: Services) -> list[tuple[str, dict[str, Any]]]:
    return [(row["event"], row["data"]) for row in accounts(services)]


def test_nothing_is_stored_while_nobody_listens(services: Services) -> None:
    quiet = with_settings(services)
    say(quiet)
    compile_now(quiet, "acme", "ada", request_id=None)
    erase_subject(quiet, "acme", "ada")
    assert accounts(quiet) == []


def test_listening_for_nobody_costs_an_append_no_statement(services: Services) -> None:
    def statements(own: Services) -> int:
        statements_sent.set(0)
        say(own)
        return statements_sent.get()

    quiet = with_settings(services)
    assert statements(quiet) == 1
    add_endpoint(quiet, URL, tenant_id="globex")
    assert statements(quiet) == 1
    add_endpoint(quiet, URL)
    # It is found out, then a transaction of a beginning, two statements and an end appends and tells.
    assert statements(quiet) == 5


def test_an_episode_is_told_by_itself(everything: Services) -> None:
    (stored,) = append_episodes(everything, "acme", [said()], request_id=None)
    assert told(everything) == [("episode.created", {"id": str(stored.id), "subject_id": "ada"})]


def test_a_batch_is_told_once_with_its_distinct_subjects(everything: Services) -> None:
    batch = [said("ada"), said("bob"), said("ada")]
    append_episodes(everything, "acme", batch, request_id=None, batch=True)
    assert told(everything) == [("episodes.batch_created", {"count": 3, "subject_ids": ["ada", "bob"]})]


def test_a_batch_of_one_is_a_batch(everything: Services) -> None:
    append_episodes(everything, "acme", [said()], request_id=None, batch=True)
    assert told(everything) == [("episodes.batch_created", {"count": 1, "subject_ids": ["ada"]})]


def test_replayed_appends_tell_nothing_and_mixed_ones_only_what_is_new(everything: Services) -> None:
    first = said("ada", idempotency_key="k1")
    append_episodes(everything, "acme", [first], request_id=None)
    append_episodes(everything, "acme", [first], request_id=None)
    append_episodes(everything, "acme", [first], request_id=None, batch=True)
    append_episodes(everything, "acme", [first, said("bob", idempotency_key="k2")], request_id=None, batch=True)
    assert [event for event, _ in told(everything)] == ["episode.created", "episodes.batch_created"]
    assert told(everything)[1][1] == {"count": 1, "subject_ids": ["bob"]}


def test_a_compilation_is_told_with_its_count(everything: Services) -> None:
    say(everything)
    outcome = compile_now(everything, "acme", "ada", request_id=None)
    assert outcome.memories
    expected = ("memories.compiled", {"subject_id": "ada", "memories_created": len(outcome.memories)})
    assert told(everything)[-1] == expected
    compile_now(everything, "acme", "ada", request_id=None)
    assert told(everything)[-1] == expected and len(told(everything)) == 2


def test_an_erasure_is_told_unless_there_was_nothing(everything: Services) -> None:
    say(everything)
    erase_subject(everything, "acme", "ada")
    erase_subject(everything, "acme", "ada")
    assert told(everything) == [
        ("subject.deleted", {"subject_id": "ada", "episodes_deleted": 1, "memories_deleted": 0})
    ]


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        ("healthy", "watch", "subject.health_degraded"),
        ("watch", "at_risk", "subject.health_degraded"),
        ("at_risk", "healthy", "subject.health_improved"),
        ("watch", "watch", None),
    ],
)
def test_a_change_of_health_is_told_with_three_factors(
    everything: Services, before: str, after: str, event: str | None
) -> None:
    factors = [{"signal": f"s{n}", "impact": -n, "detail": "d"} for n in range(5)]
    with tenant_transaction(everything.pool, "acme") as conn:
        webhook_events.health_changed(
            conn,
            everything.settings,
            "acme",
            "ada",
            previous_state=before,
            current_state=after,
            score=55,
            factors=factors,
            generated_at=datetime(2026, 3, 14, tzinfo=UTC),
            request_id=None,
        )
    data = {
        "subject_id": "ada",
        "previous_state": before,
        "current_state": after,
        "score": 55,
        "factors": factors[:3],
        "generated_at": "2026-03-14T00:00:00+00:00",
    }
    assert told(everything) == ([(event, data)] if event else [])


def test_subjects_of_the_server_itself_are_not_told_of(everything: Services) -> None:
    say(everything, "_snapshot/1", "_bootstrap_tmp/2")
    erase_subject(everything, "acme", "_snapshot/1")
    assert told(everything) == []


def test_an_endpoint_hears_what_it_asked_for_from_its_own_tenant(services: Services) -> None:
    own = with_settings(services, webhook_url=URL, webhook_events=("subject.deleted",))
    everything = add_endpoint(own, URL)
    episodes = add_endpoint(own, URL, events=["episode.created"])
    add_endpoint(own, URL, enabled=False)
    add_endpoint(own, URL, tenant_id="globex")
    say(own)
    erase_subject(own, "acme", "ada")

    def heard() -> set[tuple[UUID, str]]:
        return {(row["endpoint_id"], row["event"]) for row in accounts(own)}

    # The episode's deliveries went with the subject; what is left is about its end.
    end = {(GLOBAL_ENDPOINT, "subject.deleted"), (everything.id, "subject.deleted")}
    assert heard() == end
    say(own)
    assert heard() - end == {(everything.id, "episode.created"), (episodes.id, "episode.created")}


def test_deliveries_of_one_event_share_its_id_which_is_that_of_one_of_them(services: Services) -> None:
    own = with_settings(services, webhook_url=URL)
    for _ in range(MOST_PER_TENANT):
        add_endpoint(own, URL)
    say(own)
    rows = accounts(own)
    assert len({row["id"] for row in rows}) == MOST_PER_TENANT + 1
    (event_id,) = {row["event_id"] for row in rows}
    assert event_id in {row["id"] for row in rows}
    assert {row["id"].version for row in rows} == {7}


def test_an_endpoint_hears_of_the_very_next_event(services: Services) -> None:
    own = with_settings(services)
    say(own)
    endpoint = add_endpoint(own, URL)
    say(own)
    assert [row["endpoint_id"] for row in accounts(own)] == [endpoint.id]


def test_events_are_there_with_their_cause_or_not_at_all(everything: Services, dying_at: Killer) -> None:
    for fatal in itertools.count(1):
        died = False
        try:
            with dying_at(fatal):
                append_episodes(everything, "acme", [said("ada"), said("bob")], request_id=None, batch=True)
        except Killed:
            died = True
        with operator_transaction(everything.pool) as conn:
            counts = conn.execute(
                "select (select count(*) from episodes), (select count(*) from webhook_deliveries),"
                " (select count(*) from runs), (select count(*) from webhook_subjects)"
            ).fetchone()
        assert counts == ((0, 0, 0, 0) if died else (2, 1, 1, 2))
        if not died:
            assert fatal > 5
            return


def test_a_tenant_sees_only_its_own_endpoints_and_deliveries(services: Services) -> None:
    own = with_settings(services)
    for tenant_id in ("acme", "globex"):
        add_endpoint(own, URL, tenant_id=tenant_id)
        append_episodes(own, tenant_id, [said("ada"), said("bob")], request_id=None, batch=True)
    with tenant_transaction(own.pool, "acme") as conn:
        for table, expected in (("webhook_endpoints", 1), ("webhook_deliveries", 1), ("webhook_subjects", 2)):
            rows = conn.execute(f"select tenant_id from {table}").fetchall()
            assert rows == [("acme",)] * expected
    with pytest.raises(psycopg.errors.InsufficientPrivilege), tenant_transaction(own.pool, "acme") as conn:
        conn.execute("update webhook_endpoints set tenant_id = 'globex'")


def test_erasing_a_subject_leaves_it_in_no_event_and_takes_nothing_from_others(everything: Services) -> None:
    say(everything, "ada", "bob")
    batch = [said("ada"), said("bob"), said("eve")]
    append_episodes(everything, "acme", batch, request_id=None, batch=True)
    append_episodes(everything, "globex", batch, request_id=None, batch=True)
    compile_now(everything, "acme", "ada", request_id=None)
    erase_subject(everything, "acme", "ada")
    left = [
        (row["tenant_id"], event, data)
        for row, (event, data) in zip(accounts(everything), told(everything), strict=True)
    ]
    assert [(tenant_id, event, data.get("subject_ids")) for tenant_id, event, data in left] == [
        ("acme", "episode.created", None),
        ("acme", "episodes.batch_created", ["bob", "eve"]),
        ("globex", "episodes.batch_created", ["ada", "bob", "eve"]),
        ("acme", "subject.deleted", None),
    ]
    assert left[0][2]["subject_id"] == "bob"
    with tenant_transaction(everything.pool, "acme") as conn:
        assert conn.execute("select distinct subject_id from webhook_subjects order by 1").fetchall() == [
            ("bob",),
            ("eve",),
        ]


def test_a_batch_all_of_whose_subjects_are_erased_names_nobody(everything: Services) -> None:
    append_episodes(everything, "acme", [said("ada"), said("bob")], request_id=None, batch=True)
    for subject_id in ("ada", "bob"):
        erase_subject(everything, "acme", subject_id)
    assert told(everything)[0] == ("episodes.batch_created", {"count": 2, "subject_ids": []})


def test_erasing_a_subject_again_does_not_take_back_the_message_of_the_first_time(everything: Services) -> None:
    for _ in range(2):
        say(everything)
        erase_subject(everything, "acme", "ada")
    assert [event for event, _ in told(everything)] == ["subject.deleted", "subject.deleted"]


def test_the_request_that_caused_an_event_is_known(everything: Services) -> None:
    say(everything)
    with operator_transaction(everything.pool) as conn:
        assert conn.execute("select request_id from runs where kind = 'webhook'").fetchall() == [("request-1",)]
