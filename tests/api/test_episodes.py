"""Appending episodes (contract: core §5)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import falcon.testing
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.transactions import Pool, tenant_transaction
from tests.api.requests import episode

Client = falcon.testing.TestClient


def post(client: Client, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = client.simulate_post(
        "/v1/episodes", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json
    return stored


def count(client: Client, subject: str = "ada") -> int:
    subjects = client.simulate_get("/v1/subjects").json["subjects"]
    return sum(found["episode_count"] for found in subjects if found["subject_id"] == subject)


def test_the_stored_episode_comes_back_as_it_was_sent(client: Client) -> None:
    sent = episode(
        session_id="ticket-1",
        metadata={"b": 1, "a": [True, None, 1.5e300]},
        provenance={"ünïcode": "🧭", "big": 2**70},
        occurred_at="2026-03-14T09:26:53+05:30",
    )
    stored = post(client, sent)
    UUID(stored.pop("id"))
    assert stored.pop("created_at").endswith("Z")
    assert stored == {**sent, "occurred_at": "2026-03-14T03:56:53Z"}


def test_what_is_left_out_is_empty_and_never_null(client: Client) -> None:
    for body in (episode(), episode(metadata=None, provenance=None, session_id=None, occurred_at=None)):
        stored = post(client, body)
        assert (stored["metadata"], stored["provenance"]) == ({}, {})
        assert stored["session_id"] is None
        assert stored["occurred_at"] is not None


def test_fields_the_contract_does_not_know_are_ignored(client: Client) -> None:
    post(client, episode(tags=["x"], future_field={"a": 1}))
    answer = client.simulate_post("/v1/episodes?verbose=1", json=episode())
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "subject",
    ["repo:acme/shop", "contact:ada@example.com", "mit Leerzeichen", "東京", "x" * 256, "🧭" * 256, "a%2Fb", "..", " "],
)
def test_subjects_may_be_named_in_any_printable_way(client: Client, subject: str) -> None:
    assert post(client, episode(subject_id=subject))["subject_id"] == subject
    timeline = client.simulate_get("/v1/timeline", params={"subject_id": subject}).json
    assert [found["subject_id"] for found in timeline["episodes"]] == [subject]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-03-14T09:26:53Z", "2026-03-14T09:26:53Z"),
        ("2026-03-14T09:26:53.123456-08:00", "2026-03-14T17:26:53.123456Z"),
        ("2026-03-14T09:26:53", "2026-03-14T09:26:53Z"),
        ("2026-03-14 09:26:53", "2026-03-14T09:26:53Z"),
        ("2026-03-14T09:26Z", "2026-03-14T09:26:00Z"),
        ("2026-03-14", "2026-03-14T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_moments_are_stored_in_utc_and_come_back_with_their_zone(client: Client, sent: str, stored: str) -> None:
    assert post(client, episode(occurred_at=sent))["occurred_at"] == stored
    timeline = client.simulate_get("/v1/timeline", params={"subject_id": "ada"}).json
    assert [found["occurred_at"] for found in timeline["episodes"]] == [stored]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_episodes_from_the_ends_of_time_compile_like_others(client: Client, moment: str) -> None:
    post(client, episode(occurred_at=moment))
    compiled = client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"})
    assert compiled.status_code == 200
    context = client.simulate_post("/v1/context", json={"subject_id": "ada", "task": "What is her name?"})
    assert context.status_code == 200


KEYED = [
    pytest.param({"idempotency_key": "k"}, {}, id="its field"),
    pytest.param({"metadata": {"idempotency_key": "k"}}, {}, id="the metadata"),
    pytest.param(
        {"idempotency_key": "", "metadata": {"idempotency_key": "k"}}, {}, id="the metadata, as the field is empty"
    ),
    pytest.param({}, {"Idempotency_Key": "k"}, id="the header"),
    pytest.param(
        {"metadata": {"idempotency_key": None}}, {"Idempotency_Key": "k"}, id="the header, as the metadata's is null"
    ),
]


@pytest.mark.parametrize(("fields", "headers"), KEYED)
def test_a_repetition_returns_what_is_stored(client: Client, fields: dict[str, Any], headers: dict[str, str]) -> None:
    first = post(client, episode(**fields), **headers)
    # The other body is ignored: the key says it is the same event.
    again = post(client, episode(type="other", **fields), **headers)
    assert again == first
    assert count(client) == 1
    # Whichever way a key comes, it is the same key.
    assert post(client, episode(idempotency_key="k")) == first


def test_the_field_counts_before_the_metadata_and_that_before_the_header(client: Client) -> None:
    post(client, episode(idempotency_key="a", metadata={"idempotency_key": "b"}), Idempotency_Key="c")
    assert count(client) == 1
    post(client, episode(metadata={"idempotency_key": "b"}), Idempotency_Key="c")
    assert count(client) == 2
    post(client, episode(), Idempotency_Key="c")
    assert count(client) == 3
    # With a key of its own, a bad one in the metadata is only metadata.
    post(client, episode(idempotency_key="d", metadata={"idempotency_key": 7}))
    assert count(client) == 4


def test_without_a_key_every_event_is_an_event(client: Client) -> None:
    assert post(client, episode())["id"] != post(client, episode(idempotency_key=""))["id"]
    assert count(client) == 2


def test_a_key_belongs_to_its_subject_and_tenant(client: Client) -> None:
    ids = {
        post(client, episode(idempotency_key="k"))["id"],
        post(client, episode(idempotency_key="k", subject_id="bob"))["id"],
        post(client, episode(idempotency_key="k"), X_Tenant_ID="acme")["id"],
    }
    assert len(ids) == 3


def test_a_key_holds_when_it_is_sent_many_times_at_once(client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: post(client, episode(idempotency_key="k"))["id"], range(32)))
    assert len(ids) == 1
    assert count(client) == 1


def test_a_batch_keeps_its_order_and_counts_repetitions(client: Client) -> None:
    first = post(client, episode(idempotency_key="k0"))
    items = [episode(idempotency_key=f"k{number % 3}", type=f"t{number}") for number in range(5)]
    items.append(episode(subject_id="bob", occurred_at="2026-01-01", metadata={"idempotency_key": "k0"}))
    answer = client.simulate_post("/v1/episodes/batch", json={"episodes": items})
    assert answer.status_code == 201
    assert answer.json["episodes_created"] == 6
    stored = answer.json["episodes"]
    assert [found["type"] for found in stored] == ["message", "t1", "t2", "message", "t1", "message"]
    assert stored[0] == stored[3] == first
    assert stored[5]["subject_id"] == "bob"
    assert (count(client), count(client, "bob")) == (3, 1)


def test_a_batch_with_one_bad_episode_stores_none(client: Client) -> None:
    answer = client.simulate_post("/v1/episodes/batch", json={"episodes": [episode(), episode(source="")]})
    assert answer.status_code == 422
    assert count(client) == 0


CONNECTOR_RECORD = {
    "subject": "customer:acme",
    "kind": "zendesk.comment.posted",
    "text": "The invoice is wrong again.",
    "occurred_at": "2026-03-14T09:26:53Z",
    "source": {"type": "zendesk.comment", "id": "ticket:7:comment:9", "url": "https://acme.example/7"},
    "metadata": {"ticket_id": 7},
    "idempotency_key": "0f" * 16,
}


def test_the_record_of_a_connector_is_translated(client: Client) -> None:
    stored = post(client, CONNECTOR_RECORD, Authorization="Bearer unused", X_Statewave_Tenant_Id="acme")
    expected = {
        "subject_id": "customer:acme",
        "type": "zendesk.comment.posted",
        "source": "zendesk.comment",
        "payload": {
            "text": "The invoice is wrong again.",
            "source_id": "ticket:7:comment:9",
            "source_url": "https://acme.example/7",
        },
        "metadata": {"ticket_id": 7},
        "provenance": {},
        "session_id": None,
        "occurred_at": "2026-03-14T09:26:53Z",
    }
    assert {name: stored[name] for name in expected} == expected
    assert post(client, CONNECTOR_RECORD, X_Statewave_Tenant_Id="acme") == stored


def test_a_connector_may_leave_out_what_it_does_not_know(client: Client) -> None:
    record = {"subject": "repo:a/b", "kind": "git.commit", "text": "", "source": {"type": "git"}}
    stored = post(client, record)
    assert stored["payload"] == {"text": ""}
    batch = client.simulate_post("/v1/episodes/batch", json={"episodes": [record, episode()]})
    assert [found["source"] for found in batch.json["episodes"]] == ["git", "chat"]


def test_the_problems_of_a_connectors_record_are_named_in_its_own_words(doorstep: Client) -> None:
    record = {**CONNECTOR_RECORD, "kind": "", "text": 5, "source": {"id": 1}}
    answer = doorstep.simulate_post("/v1/episodes", json=record)
    named = {".".join(problem["loc"][1:]): problem["type"] for problem in answer.json["error"]["details"]}
    assert named == {"kind": "too_short", "text": "wrong_type", "source.type": "missing", "source.id": "wrong_type"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    payload=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), JSON, max_size=4
    )
)
def test_any_json_object_is_stored_and_returned_unchanged(client: Client, pool: Pool, payload: dict[str, Any]) -> None:
    stored = post(client, episode(payload=payload))
    assert stored["payload"] == payload
    with tenant_transaction(pool, "") as conn:
        (row,) = conn.execute("select payload::text from episodes where id = %s", (stored["id"],)).fetchall()
    answer = client.simulate_get("/v1/timeline", params={"subject_id": "ada", "newest_first": "true", "limit": "1"})
    assert answer.json["episodes"][0]["payload"] == payload
    assert row[0] in answer.text
