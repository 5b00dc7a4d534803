"""The published SDK drives the server unchanged, synchronously and asynchronously."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from statewave import AsyncStatewaveClient, StatewaveClient
from statewave.exceptions import StatewaveAPIError, StatewaveUnreplayableError

from tests.fixtures.stack import RunningStack


@pytest.fixture
def tenant() -> str:
    return str(uuid4())


@pytest.fixture
def client(running_stack: RunningStack, tenant: str) -> Iterator[StatewaveClient]:
    with StatewaveClient(running_stack.base_url, tenant_id=tenant) as client:
        yield client


def message(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def test_from_episode_to_context(client: StatewaveClient) -> None:
    episode = client.create_episode(
        subject_id="ada", source="chat", type="message", payload=message("My name is Ada Moreau."), session_id="s1"
    )
    assert episode.subject_id == "ada"
    assert episode.payload == message("My name is Ada Moreau.")
    compiled = client.compile_memories("ada")
    assert compiled.memories_created == len(compiled.memories) > 0
    bundle = client.get_context("ada", "What is the customer's name?", max_tokens=200)
    assert "Ada Moreau" in bundle.assembled_context
    assert bundle.token_estimate <= 200
    assert client.get_context_string("ada", "What is the customer's name?", max_tokens=200) == bundle.assembled_context


def test_batches_with_their_own_times(client: StatewaveClient) -> None:
    result = client.create_episodes_batch(
        [
            {
                "subject_id": "ada",
                "source": "chat",
                "type": "message",
                "payload": message(f"Message {number}"),
                "occurred_at": f"2026-01-0{number + 1}T10:00:00Z",
            }
            for number in range(3)
        ]
    )
    assert result.episodes_created == len(result.episodes) == 3
    assert [e.occurred_at.day for e in result.episodes if e.occurred_at] == [1, 2, 3]


def test_an_idempotency_key_makes_a_retry_harmless(client: StatewaveClient) -> None:
    arguments: dict[str, Any] = {
        "subject_id": "ada",
        "source": "chat",
        "type": "message",
        "payload": message("once"),
        "idempotency_key": "k1",
    }
    assert client.create_episode(**arguments).id == client.create_episode(**arguments).id


def test_compiling_in_the_background_and_waiting(client: StatewaveClient) -> None:
    client.create_episode(subject_id="ada", source="chat", type="message", payload=message("I work at Globex."))
    job = client.compile_memories_wait("ada")
    assert job.status == "completed"
    assert job.memories_created == len(job.memories)
    assert client.get_compile_status(job.job_id).status == "completed"


def test_searching_by_words_and_by_meaning(client: StatewaveClient) -> None:
    client.create_episode(subject_id="ada", source="chat", type="message", payload=message("I work at Globex."))
    client.compile_memories("ada")
    for semantic in (False, True):
        found = client.search_memories("ada", query="Globex", semantic=semantic, limit=5)
        assert any("Globex" in memory.content for memory in found.memories)


def test_timeline_subjects_and_deletion(client: StatewaveClient) -> None:
    for number in range(3):
        client.create_episode(subject_id="ada", source="chat", type="message", payload=message(f"Hello {number}"))
    newest = client.get_timeline("ada", limit=2, newest_first=True)
    assert newest.episodes_has_more is True
    assert [e.payload["messages"][0]["content"] for e in newest.episodes] == ["Hello 1", "Hello 2"]
    listed = client.list_subjects()
    assert [(s.subject_id, s.episode_count) for s in listed.subjects] == [("ada", 3)]
    assert client.delete_subject("ada").episodes_deleted == 3
    assert client.delete_subject("ada").episodes_deleted == 0
    assert client.list_subjects().total == 0


def test_receipts_are_listed_verified_and_replayed(client: StatewaveClient) -> None:
    client.create_episode(subject_id="ada", source="chat", type="message", payload=message("My name is Ada Moreau."))
    bundle = client.get_context("ada", "What is the customer's name?", emit_receipt=True)
    assert bundle.receipt_emitted and bundle.receipt_id
    receipt = client.get_receipt(bundle.receipt_id)
    assert (receipt.mode, receipt.subject_id) == ("retrieval", "ada")
    page = client.list_receipts("ada")
    assert [found.receipt_id for found in page.receipts] == [bundle.receipt_id] and page.next_cursor is None
    verified = client.verify_receipt(bundle.receipt_id)
    assert (verified.valid, verified.reason) == (None, "no_signature")
    replayed = client.replay_receipt(bundle.receipt_id)
    assert replayed.diff.context_hash["changed"] is False and replayed.replay_receipt_id
    with pytest.raises(StatewaveUnreplayableError):
        client.replay_receipt(replayed.replay_receipt_id)


def test_an_error_arrives_as_the_sdks_error(client: StatewaveClient) -> None:
    with pytest.raises(StatewaveAPIError) as caught:
        client.create_episode(subject_id="", source="chat", type="message", payload={})
    assert caught.value.status_code == 422
    assert caught.value.code == "validation_error"
    assert [problem["loc"] for problem in caught.value.details] == [["body", "subject_id"]]
    assert caught.value.request_id
    with pytest.raises(StatewaveAPIError) as missing:
        client.get_compile_status("no-such-job")
    assert missing.value.status_code == 404


def test_the_asynchronous_client(running_stack: RunningStack, tenant: str) -> None:
    async def story() -> None:
        async with AsyncStatewaveClient(running_stack.base_url, tenant_id=tenant) as client:
            await client.create_episode(
                subject_id="ada", source="chat", type="message", payload=message("My name is Ada Moreau.")
            )
            await client.create_episodes_batch(
                [{"subject_id": "ada", "source": "chat", "type": "message", "payload": message("I live in Porto.")}]
            )
            compiled = await client.compile_memories("ada")
            assert compiled.memories_created > 0
            job = await client.compile_memories_wait("ada")
            assert job.status == "completed"
            bundle = await client.get_context("ada", "Where does the customer live?", max_tokens=300)
            assert "Porto" in bundle.assembled_context
            found = await client.search_memories("ada", query="Porto", semantic=True)
            assert found.memories
            timeline = await client.get_timeline("ada")
            assert len(timeline.episodes) == 2
            assert (await client.list_subjects()).total == 1
            assert (await client.delete_subject("ada")).episodes_deleted == 2

    asyncio.run(story())
