"""Assembling context (contract: core §6.8). What is chosen is the pipelines' business and tested there."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from tests.api.conftest import MakeClient
from tests.api.requests import episode

Client = falcon.testing.TestClient


def ask(client: Client, **fields: Any) -> dict[str, Any]:
    answer = client.simulate_post("/v1/context", json={"subject_id": "ada", "task": "What is her name?", **fields})
    assert answer.status_code == 200, answer.text
    bundle: dict[str, Any] = answer.json
    return bundle


@pytest.fixture
def knowing(client: Client) -> Client:
    """A client of a server that has compiled one session of ada's."""
    client.simulate_post("/v1/episodes", json=episode(session_id="s1"))
    client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"})
    return client


def test_the_bundle_has_the_fields_of_the_contract(knowing: Client) -> None:
    bundle = ask(knowing)
    assert set(bundle) == {
        "subject_id",
        "task",
        "facts",
        "episodes",
        "procedures",
        "provenance",
        "assembled_context",
        "token_estimate",
        "sessions",
        "receipt_id",
        "receipt_emitted",
    }
    assert set(bundle["provenance"]) >= {"fact_ids", "summary_ids", "procedure_ids", "episode_ids"}
    assert (bundle["receipt_id"], bundle["receipt_emitted"]) == (None, False)
    assert "Ada Moreau" in bundle["assembled_context"]
    assert 0 < bundle["token_estimate"] <= 4000


def test_delivered_episodes_are_whole_and_without_anything_internal(client: Client) -> None:
    stored = client.simulate_post("/v1/episodes", json=episode(session_id="s1")).json
    client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"})
    delivered = ask(client, task="Ada Moreau")["episodes"]
    assert all(found == stored for found in delivered)


def test_an_unknown_subject_gets_the_task_and_empty_lists(client: Client) -> None:
    bundle = ask(client, subject_id="nobody")
    for field in ("facts", "episodes", "procedures", "sessions"):
        assert bundle[field] == []
    assert set(map(tuple, bundle["provenance"].values())) <= {()}
    assert "What is her name?" in bundle["assembled_context"]


def test_everything_that_clients_send_is_accepted(knowing: Client) -> None:
    bundle = ask(
        knowing,
        max_tokens=100,
        session_id="s1",
        emit_receipt=True,
        query_id="q" * 64,
        task_id="t" * 64,
        parent_receipt_id="0" * 26,
        caller_id="c" * 256,
        caller_type="agent",
        as_of="2026-01-01",
    )
    assert bundle["token_estimate"] <= 100


@pytest.mark.parametrize("tokens", [1, 128_000])
def test_the_ends_of_the_budget(knowing: Client, tokens: int) -> None:
    assert ask(knowing, max_tokens=tokens)["token_estimate"] <= tokens


def test_the_default_budget_is_a_setting(make_client: MakeClient) -> None:
    client = make_client(default_max_context_tokens=12)
    for number in range(20):
        client.simulate_post("/v1/episodes", json=episode(payload={"text": f"My account number is {number}."}))
    client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"})
    assert ask(client)["token_estimate"] <= 12


def test_scores_are_explained_on_request_only(knowing: Client) -> None:
    assert ask(knowing, explain=True)["explain"]
    assert "explain" not in ask(knowing, explain=False)
