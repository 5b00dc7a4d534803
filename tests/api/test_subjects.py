"""Listing subjects, reading their timelines, forgetting them (contract: core §6.9 to §6.11)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import falcon.testing
import pytest

from tests.api.requests import episode, problems

Client = falcon.testing.TestClient


def add(client: Client, *items: dict[str, Any]) -> None:
    answer = client.simulate_post("/v1/episodes/batch", json={"episodes": list(items)})
    assert answer.status_code == 201


def timeline(client: Client, **params: Any) -> dict[str, Any]:
    answer = client.simulate_get("/v1/timeline", params={"subject_id": "ada", **params})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json
    return page


def types(page: dict[str, Any]) -> list[str]:
    return [found["type"] for found in page["episodes"]]


@pytest.fixture
def days(client: Client) -> Client:
    """Five episodes of five days, sent in another order."""
    add(client, *(episode(type=f"day {day}", occurred_at=f"2026-01-0{day}T12:00:00Z") for day in (3, 1, 5, 2, 4)))
    return client


def test_a_timeline_is_in_the_order_of_events(days: Client) -> None:
    page = timeline(days)
    assert set(page) == {"subject_id", "episodes", "memories", "episodes_has_more", "memories_has_more"}
    assert types(page) == ["day 1", "day 2", "day 3", "day 4", "day 5"]
    assert (page["episodes_has_more"], page["memories_has_more"]) == (False, False)


def test_pages_come_from_either_end_and_are_always_ascending(days: Client) -> None:
    oldest = timeline(days, limit=2, offset=1)
    assert types(oldest) == ["day 2", "day 3"]
    assert oldest["episodes_has_more"] is True
    newest = timeline(days, limit=2, newest_first="true")
    assert types(newest) == ["day 4", "day 5"]
    last = timeline(days, limit=2, offset=4, newest_first="true")
    assert types(last) == ["day 1"]
    assert last["episodes_has_more"] is False


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2026-01-03T12:00:00Z", None, ["day 3", "day 4", "day 5"]),
        (None, "2026-01-02T12:00:00Z", ["day 1", "day 2"]),
        ("2026-01-02", "2026-01-04", ["day 2", "day 3"]),
        ("2026-01-04T17:29:59+05:30", None, ["day 4", "day 5"]),
        ("2026-01-04T17:30:01+05:30", None, ["day 5"]),
    ],
)
def test_a_timeline_may_be_bounded(days: Client, since: str | None, until: str | None, expected: list[str]) -> None:
    bounds = {name: value for name, value in (("since", since), ("until", until)) if value}
    assert types(timeline(days, **bounds)) == expected


def test_an_offset_with_a_plus_that_became_a_space_is_understood(days: Client) -> None:
    answer = days.simulate_get("/v1/timeline", query_string="subject_id=ada&since=2026-01-04T17:30:01+05:30")
    assert types(answer.json) == ["day 5"]


def test_more_than_a_page_may_hold_is_taken_as_a_page(client: Client) -> None:
    for _ in range(3):
        add(client, *[episode()] * 70)
    page = timeline(client, limit=1000)
    assert len(page["episodes"]) == 200
    assert page["episodes_has_more"] is True
    rest = timeline(client, limit=1000, offset=200)
    assert len(rest["episodes"]) == 10
    assert rest["episodes_has_more"] is False


def test_memories_may_be_narrowed_to_what_holds_and_to_kinds(client: Client) -> None:
    add(client, episode(payload={"text": "I live in Porto."}, occurred_at="2026-01-01"))
    add(client, episode(payload={"text": "I live in Bergen."}, occurred_at="2026-02-01"))
    client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"})
    everything = timeline(client)["memories"]
    assert {memory["status"] for memory in everything} == {"active", "superseded"}
    assert {memory["status"] for memory in timeline(client, status="active")["memories"]} == {"active"}
    facts = timeline(client, kinds="profile_fact,procedure")["memories"]
    assert facts == [memory for memory in everything if memory["kind"] == "profile_fact"]
    both = client.simulate_get("/v1/timeline", query_string="subject_id=ada&kinds=profile_fact&kinds=episode_summary")
    assert both.json["memories"] == everything


def test_subjects_are_listed_in_order_with_their_counts_and_the_true_total(client: Client) -> None:
    add(client, episode(subject_id="b"), episode(subject_id="a"), episode(subject_id="c"), episode(subject_id="b"))
    answer = client.simulate_get("/v1/subjects", params={"limit": 2, "offset": 1})
    assert answer.json == {
        "subjects": [
            {"subject_id": "b", "episode_count": 2, "memory_count": 0},
            {"subject_id": "c", "episode_count": 1, "memory_count": 0},
        ],
        "total": 3,
    }
    assert client.simulate_get("/v1/subjects", params={"offset": 3}).json == {"subjects": [], "total": 3}


def test_internal_subjects_are_not_listed(client: Client) -> None:
    add(client, episode(subject_id="_snapshot/x"), episode(subject_id="_bootstrap_tmp/y"), episode(subject_id="_z"))
    listed = client.simulate_get("/v1/subjects").json
    assert [found["subject_id"] for found in listed["subjects"]] == ["_z"]
    assert listed["total"] == 1


SUBJECTS = ["ada", "repo:acme/shop", "a/b/health", "ends/", "/", "//", "ada@example.com", "100% 東京?#", "%2F", ".."]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_forgetting_a_subject_by_its_encoded_name(client: Client, subject: str) -> None:
    add(client, episode(subject_id=subject), episode(subject_id=subject), episode(subject_id="another"))
    client.simulate_post("/v1/memories/compile", json={"subject_id": subject})
    made = len(timeline(client, subject_id=subject)["memories"])
    answer = client.simulate_delete("/v1/subjects/" + quote(subject, safe=""))
    assert answer.status_code == 200
    assert answer.json == {"subject_id": subject, "episodes_deleted": 2, "memories_deleted": made}
    listed = client.simulate_get("/v1/subjects").json["subjects"]
    assert [found["subject_id"] for found in listed] == ["another"]


@pytest.mark.parametrize("subject", ["repo:acme/shop", "a/b/health", "ends/", "ada@example.com"])
def test_slashes_need_not_be_encoded(client: Client, subject: str) -> None:
    add(client, episode(subject_id=subject))
    assert client.simulate_delete("/v1/subjects/" + subject).json["episodes_deleted"] == 1


def test_a_name_that_differs_by_a_slash_is_another_name(client: Client) -> None:
    add(client, episode(subject_id="ada"))
    assert client.simulate_delete("/v1/subjects/ada/").json["episodes_deleted"] == 0
    assert client.simulate_delete("/v1/subjects//ada").json["episodes_deleted"] == 0


def test_forgetting_nobody_is_a_200_with_zeros(client: Client) -> None:
    answer = client.simulate_delete("/v1/subjects/nobody")
    assert answer.status_code == 200
    assert answer.json == {"subject_id": "nobody", "episodes_deleted": 0, "memories_deleted": 0}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/subjects/", "too_short"),
        ("/v1/subjects/" + "x" * 257, "too_long"),
        ("/v1/subjects/a%00b", "nul_character"),
        ("/v1/subjects/a%0Ab", "invalid_characters"),
    ],
)
def test_a_name_that_no_subject_can_have_is_refused(doorstep: Client, path: str, kind: str) -> None:
    assert problems(doorstep.simulate_delete(path)) == {"path.subject_id": kind}


def test_bytes_that_are_no_text_name_no_subject(doorstep: Client) -> None:
    # As a server hands on the path /v1/subjects/a%FFb; Falcon would take it for the subject "a\ufffdb".
    sent = {"PATH_INFO": "/v1/subjects/a\xffb", "RAW_URI": "/v1/subjects/a%FFb", "REQUEST_URI": "/v1/subjects/a%FFb"}
    answer = doorstep.simulate_delete("/v1/subjects/", extras=sent)
    assert problems(answer) == {"path.subject_id": "invalid_utf8"}


def test_a_replacement_character_that_was_sent_is_one(client: Client) -> None:
    add(client, episode(subject_id="a\ufffd"))
    assert client.simulate_delete("/v1/subjects/a%EF%BF%BD").json["episodes_deleted"] == 1


def test_another_tenants_subject_is_not_forgotten(client: Client) -> None:
    add(client, episode())
    answer = client.simulate_delete("/v1/subjects/ada", headers={"X-Tenant-ID": "acme"})
    assert answer.json["episodes_deleted"] == 0
    assert len(timeline(client)["episodes"]) == 1
