"""Operators look into one subject: how it grew, what a memory was made from, what lies near what."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import falcon.testing
import pytest

from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

Client = falcon.testing.TestClient
SENTENCES = [
    "I live in Porto with my two cats.",
    "I live in Porto with my three cats and a dog.",
    "My email address is ada@globex.example.",
]
HEADERS = {"X-Tenant-ID": "acme"}


@pytest.fixture
def memories(client: Client) -> list[dict[str, Any]]:
    """What became of the sentences."""
    for sentence in SENTENCES:
        payload = {"messages": [{"role": "user", "content": sentence}]}
        client.simulate_post("/v1/episodes", json=episode(payload=payload), headers=HEADERS)
    made = client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=HEADERS)
    found: list[dict[str, Any]] = made.json["memories"]
    return found


def look(client: Client, what: str, **params: str) -> Any:
    answer = client.simulate_get(f"/admin/subjects/ada/{what}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_activity_has_every_day_of_its_window(client: Client, memories: list[dict[str, Any]]) -> None:
    found = look(client, "activity", days="7")
    assert (found["subject_id"], found["window_days"], len(found["days"])) == ("ada", 7, 7)
    assert found["days"] == sorted(found["days"], key=lambda day: str(day["date"]))
    assert sum(day["episode_count"] for day in found["days"]) == len(SENTENCES)
    assert sum(day["memory_count"] for day in found["days"]) == len(memories)
    for days in ("6", "366"):
        answer = client.simulate_get("/admin/subjects/ada/activity", params={"days": days})
        assert problems(answer).keys() == {"query.days"}


def test_memories_are_counted_as_they_were_at_a_moment(client: Client, memories: list[dict[str, Any]]) -> None:
    now = look(client, "memory-timeline")
    assert [event["memories_added"] for event in now["events"]] == [len(memories)]
    assert now["events"][-1]["cumulative_count"] == now["memories_at_snapshot"] == len(memories)
    earlier = look(client, "memory-timeline", snapshot_at="2020-01-01T00:00:00Z")
    assert (earlier["events"], earlier["memories_at_snapshot"]) == ([], 0)


def test_a_memory_names_its_episodes_and_what_else_came_of_them(client: Client, memories: list[dict[str, Any]]) -> None:
    memory = next(m for m in memories if m["content"].startswith("My email"))
    found = look(client, f"memories/{memory['id']}/provenance")
    assert found["memory"]["content"] == memory["content"]
    assert [source["id"] for source in found["source_episodes"]] == memory["source_episode_ids"]
    assert [sibling["kind"] for sibling in found["sibling_memories"]] == ["episode_summary"]
    trace = look(client, f"memories/{memory['id']}/compiler-trace")
    assert (trace["compiler"], trace["model"], trace["source_episode_count"]) == ("heuristic", None, 1)
    assert SENTENCES[2] in trace["reconstructed_input"][0]["text"]


@pytest.mark.parametrize("what", ["provenance", "compiler-trace"])
def test_a_memory_must_be_one_of_the_subject(client: Client, memories: list[dict[str, Any]], what: str) -> None:
    statuses = [client.simulate_get(f"/admin/subjects/ada/memories/{id}/{what}").status_code for id in ("bad", uuid4())]
    assert statuses == [400, 404]


def test_a_query_is_tried_without_delivering_anything(client: Client, memories: list[dict[str, Any]]) -> None:
    found = look(client, "retrieval-simulate", query="Which email address?", token_budget="100", limit="3")
    results = found["results"]
    assert "email address" in results[0]["content"]
    assert [result["rank"] for result in results] == list(range(1, len(results) + 1))
    assert found["embedding_available"] and -1 <= results[0]["similarity"] <= 1
    assert results[0]["similarity"] + results[0]["cosine_distance"] == pytest.approx(1)
    within = [result["estimated_tokens"] for result in results if result["within_budget"]]
    assert found["tokens_used"] == sum(within) <= found["token_budget"]
    refused = client.simulate_get(
        "/admin/subjects/ada/retrieval-simulate", params={"limit": "51", "token_budget": "99"}
    )
    assert problems(refused).keys() == {"query.query", "query.limit", "query.token_budget"}


def test_memories_that_say_nearly_the_same_are_shown_in_pairs(client: Client, memories: list[dict[str, Any]]) -> None:
    found = look(client, "conflicts", threshold="0.6")
    assert found["total_memories_checked"] == len([m for m in memories if m["status"] == "active"])
    similarities = [pair["similarity"] for pair in found["pairs"]]
    assert similarities == sorted(similarities, reverse=True) and min(similarities) >= 0.6
    assert all(pair["memory_a"]["id"] != pair["memory_b"]["id"] for pair in found["pairs"])
    assert look(client, "conflicts", threshold="1", limit="1")["pairs"] == []


def test_memories_have_places_on_a_map(client: Client, memories: list[dict[str, Any]]) -> None:
    found = look(client, "memory-clusters")
    active = {m["id"] for m in memories if m["status"] == "active"}
    assert {point["memory_id"] for point in found["points"]} == active
    assert found["total"] == len(active)


def test_without_embeddings_the_answers_say_so(make_client: MakeClient) -> None:
    client = make_client()
    for what in ("conflicts", "memory-clusters"):
        found = client.simulate_get(f"/admin/subjects/nobody/{what}").json
        assert (found["embedding_available"], found["error"] is None) == (False, False)
    assert client.simulate_get("/admin/subjects/nobody/retrieval-simulate", params={"query": "x"}).json["results"] == []
