"""Compiling and searching (contract: core §6.1 to §6.3)."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import falcon.testing
import psycopg
import pytest

from api.app import create_app
from pipelines.compile import WAIT_SECONDS
from pipelines.services import Services
from storage import runs
from storage.run_dispatch import CHANNEL
from storage.transactions import tenant_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode

Client = falcon.testing.TestClient

MEMORY_FIELDS = {
    "id",
    "subject_id",
    "kind",
    "content",
    "summary",
    "confidence",
    "valid_from",
    "valid_to",
    "source_episode_ids",
    "metadata",
    "status",
    "sensitivity_labels",
    "created_at",
    "updated_at",
}


def say(client: Client, text: str, **fields: Any) -> dict[str, Any]:
    payload = {"messages": [{"role": "user", "content": text}]}
    answer = client.simulate_post("/v1/episodes", json=episode(payload=payload, **fields))
    assert answer.status_code == 201
    stored: dict[str, Any] = answer.json
    return stored


def compile_ada(client: Client, **fields: Any) -> Any:
    return client.simulate_post("/v1/memories/compile", json={"subject_id": "ada", **fields})


def search(client: Client, **params: Any) -> Any:
    answer = client.simulate_get("/v1/memories/search", params={"subject_id": "ada", **params})
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize("fields", [{}, {"async": False}, {"force": True}])
def test_compiling_answers_with_the_memories(client: Client, fields: dict[str, Any]) -> None:
    source = say(client, "My name is Ada Moreau.")
    answer = compile_ada(client, **fields)
    assert answer.status_code == 200
    compiled = answer.json
    assert set(compiled) == {"subject_id", "memories_created", "memories", "has_more", "remaining_episodes"}
    assert (compiled["has_more"], compiled["remaining_episodes"]) == (False, 0)
    assert compiled["memories_created"] == len(compiled["memories"]) > 0
    for memory in compiled["memories"]:
        assert set(memory) == MEMORY_FIELDS
        assert memory["source_episode_ids"] == [source["id"]]
        assert memory["status"] == "active"
        assert isinstance(memory["metadata"], dict)
        assert isinstance(memory["summary"], str)


@pytest.mark.parametrize("subject", ["ada", "nobody"])
def test_compiling_what_is_compiled_or_unknown_makes_nothing(client: Client, subject: str) -> None:
    say(client, "My name is Ada Moreau.")
    compile_ada(client)
    answer = client.simulate_post("/v1/memories/compile", json={"subject_id": subject})
    assert answer.status_code == 200
    assert answer.json == {
        "subject_id": subject,
        "memories_created": 0,
        "memories": [],
        "has_more": False,
        "remaining_episodes": 0,
    }


def test_a_compile_takes_a_batch_and_says_what_remains(make_client: MakeClient) -> None:
    client = make_client(compile_batch_size=2)
    for number in range(5):
        say(client, f"My account number is {number}.")
    remaining = []
    while not remaining or remaining[-1]:
        compiled = compile_ada(client).json
        assert compiled["has_more"] == (compiled["remaining_episodes"] > 0)
        remaining.append(compiled["remaining_episodes"])
    assert remaining == [3, 1, 0]


@pytest.fixture
def manual(make_client: MakeClient) -> Client:
    """A client of a server that compiles only when it is asked to."""
    return make_client(auto_compile_after_seconds=None)


def test_an_asynchronous_compile_answers_with_a_job(manual: Client, database: str) -> None:
    client = manual
    say(client, "My name is Ada Moreau.")
    with psycopg.connect(database, autocommit=True) as workers:
        workers.execute(f"listen {CHANNEL}")
        answer = compile_ada(client, **{"async": True})
        assert [announced.payload for announced in workers.notifies(timeout=10, stop_after=1)] == ["compile"]
    assert answer.status_code == 202
    accepted = answer.json
    assert accepted == {"job_id": accepted["job_id"], "status": "pending", "subject_id": "ada", "attached": False}
    status = client.simulate_get(f"/v1/memories/compile/{accepted['job_id']}")
    assert status.status_code == 200
    assert status.json == {
        "job_id": accepted["job_id"],
        "status": "pending",
        "subject_id": "ada",
        "memories_created": 0,
        "memories": [],
        "error": None,
    }


def test_asking_again_while_a_job_waits_joins_it(manual: Client) -> None:
    say(manual, "My name is Ada Moreau.")
    first = compile_ada(manual, **{"async": True}).json
    again = compile_ada(manual, **{"async": True})
    assert again.status_code == 202
    assert again.json == {**first, "attached": True}


def test_a_synchronous_compile_does_a_waiting_jobs_work(client: Client) -> None:
    say(client, "My name is Ada Moreau.")
    job = compile_ada(client, **{"async": True}).json
    compiled = compile_ada(client).json
    status = client.simulate_get(f"/v1/memories/compile/{job['job_id']}").json
    assert status["status"] == "completed"
    assert status["memories_created"] == compiled["memories_created"] > 0
    assert status["memories"] == compiled["memories"]


@pytest.mark.parametrize("job", ["no-such-job", str(uuid4()), "a b", "%20", "1" * 5000])
def test_an_unknown_job_is_a_404_in_the_envelope(client: Client, job: str) -> None:
    answer = client.simulate_get(f"/v1/memories/compile/{job}")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")


def test_a_job_of_another_tenant_does_not_exist(client: Client) -> None:
    say(client, "My name is Ada Moreau.")
    job = compile_ada(client, **{"async": True}).json["job_id"]
    answer = client.simulate_get(f"/v1/memories/compile/{job}", headers={"X-Tenant-ID": "acme"})
    assert answer.status_code == 404


def test_a_subject_that_somebody_else_compiles_is_a_conflict_with_a_time_to_return(
    manual: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.compile.WAIT_SECONDS", WAIT_SECONDS / 50)
    say(manual, "My name is Ada Moreau.")
    job = compile_ada(manual, **{"async": True}).json["job_id"]
    with tenant_transaction(services.pool, "") as conn:
        assert runs.claim(conn, UUID(job), stage="compile", lease=timedelta(hours=1))
    answer = compile_ada(manual)
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "conflict")
    assert int(answer.headers["retry-after"]) > 0


@pytest.fixture
def knowing(client: Client) -> Client:
    """A client of a server that knows three facts about ada and one about bob."""
    for text in ("My name is Ada Moreau.", "I work at Globex.", "I live in Porto."):
        say(client, text)
    say(client, "I work at Initech.", subject_id="bob")
    for subject in ("ada", "bob"):
        client.simulate_post("/v1/memories/compile", json={"subject_id": subject})
    return client


def test_searching_by_words_finds_any_form_and_any_part(knowing: Client) -> None:
    for query in ("Globex", "globex", "working", "lobe"):
        found = search(knowing, q=query)
        assert found["search_mode"] == "text"
        assert any("Globex" in memory["content"] for memory in found["memories"]), query
    assert search(knowing, q="Initech")["memories"] == []


def test_words_are_found_in_the_forms_of_their_own_language(client: Client) -> None:
    say(client, "Wir haben die Häuser am Rhein verkauft.")
    compile_ada(client)
    assert search(client, q="Haus")["memories"]
    assert search(client, q="Verkauft ihr ein Haus?")["memories"]
    assert search(client, q="Schiff")["memories"] == []


def test_a_tenant_may_name_the_language_of_what_cannot_be_told(client: Client) -> None:
    for tenant in ("stockholm", "elsewhere"):
        config = {"text_language": "swedish"} if tenant == "stockholm" else {}
        assert client.simulate_patch(f"/admin/tenants/{tenant}/config", json=config).status_code == 200
        said = episode(payload={"messages": [{"role": "user", "content": "Flickorna leker."}]})
        headers = {"X-Tenant-ID": tenant}
        assert client.simulate_post("/v1/episodes", json=said, headers=headers).status_code == 201
        client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=headers)
        answer = client.simulate_get(
            "/v1/memories/search", params={"subject_id": "ada", "q": "flicka"}, headers=headers
        )
        assert bool(answer.json["memories"]) is (tenant == "stockholm")


def test_only_languages_that_there_are_can_be_named(client: Client) -> None:
    answer = client.simulate_patch("/admin/tenants/acme/config", json={"text_language": "klingon"})
    assert answer.status_code == 422


@pytest.mark.parametrize("query", ["%", "_", "100%", "\\", "' or 1=1 --", "a & | ! ( ) :*", "🧭", "   ", "\u202e"])
def test_no_query_is_more_than_its_words(knowing: Client, query: str) -> None:
    for semantic in ("true", "false"):
        found = search(knowing, q=query, semantic=semantic)
        assert {memory["subject_id"] for memory in found["memories"]} <= {"ada"}


def test_searching_by_meaning_says_so(knowing: Client) -> None:
    found = search(knowing, q="Who employs her?", semantic="true")
    assert found["search_mode"] == "semantic"
    assert found["memories"]


def test_searching_by_meaning_without_an_embedder_is_honest(services: Services) -> None:
    client = Client(create_app(dataclasses.replace(services, embedder=None)))
    say(client, "I work at Globex.")
    compile_ada(client)
    found = search(client, q="Globex", semantic="true")
    assert found["search_mode"] == "text_fallback"
    assert found["memories"]


def test_an_empty_query_lists_the_newest(knowing: Client) -> None:
    everything = search(knowing, q="", limit=100)["memories"]
    assert everything == search(knowing, limit=100)["memories"]
    assert [memory["created_at"] for memory in everything] == sorted(
        (memory["created_at"] for memory in everything), reverse=True
    )
    assert search(knowing, limit=2)["memories"] == everything[:2]


def test_a_search_may_be_narrowed_to_a_kind(knowing: Client) -> None:
    kinds = {memory["kind"] for memory in search(knowing)["memories"]}
    for kind in kinds:
        assert {memory["kind"] for memory in search(knowing, kind=kind)["memories"]} == {kind}
    assert search(knowing, kind="nothing of the kind")["memories"] == []


@pytest.mark.parametrize("extra", [{"hybrid": "true", "entity_weight": "0.3", "rerank": "false"}, {"limit": "500"}])
def test_parameters_of_other_versions_are_ignored(knowing: Client, extra: dict[str, str]) -> None:
    assert search(knowing, q="Globex", **extra)["memories"]


@pytest.mark.parametrize("text", ["true", "True", "1"])
def test_booleans_are_text(knowing: Client, text: str) -> None:
    assert search(knowing, q="Globex", semantic=text)["search_mode"] == "semantic"


def test_what_was_superseded_is_not_found(client: Client) -> None:
    say(client, "I live in Porto.", occurred_at="2026-01-01")
    say(client, "I live in Bergen.", occurred_at="2026-02-01")
    compile_ada(client)
    found = [memory for memory in search(client, limit=100)["memories"] if memory["kind"] == "profile_fact"]
    assert any("Bergen" in memory["content"] for memory in found)
    assert not any("Porto" in memory["content"] for memory in found)
