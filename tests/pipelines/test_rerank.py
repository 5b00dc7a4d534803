"""A reranking model orders the pool within its time; without its answer our own order stands."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.compile import compile_now
from pipelines.context import ContextBundle, ContextRequest, assemble_context
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from storage.transactions import operator_transaction
from tests.fixtures.desk import KEY
from tests.fixtures.provider import Behaviour, Provider, empty, fails, invalid_json, slow

TENANT = "acme"
LINES = [
    "The old garden has seven bees in it",
    "I moved to Berlin in May with my sister",
    "Berlin trams are yellow and my sister likes bees",
]


@pytest.fixture
def reranking(remote: Services, services: Services) -> Services:
    """Services with the bundled embedder and a provider's reranker."""
    settings = dataclasses.replace(
        remote.settings,
        embedding_provider="local",
        rerank_model="hosted_vllm/ranker",
        rerank_timeout_seconds=1.0,
        rerank_api_base=remote.settings.litellm_api_base,
    )
    both = dataclasses.replace(remote, settings=settings, embedder=services.embedder)
    episodes = [
        NewEpisode(subject_id="bob", session_id="s", source="chat", type="message", payload={"text": line})
        for line in LINES
    ]
    append_episodes(both, TENANT, episodes, request_id=None)
    compile_now(both, TENANT, "bob", request_id=None)
    return both


def ask(services: Services) -> ContextBundle:
    request = ContextRequest(subject_id="bob", task="yellow trams sister bees", max_tokens=300, explain=True)
    return assemble_context(services, TENANT, request)


def order(bundle: ContextBundle) -> list[str]:
    assert isinstance(bundle.explain, list)
    return [item["source_id"] for item in bundle.explain]


def test_the_order_is_the_models_and_explain_says_so(reranking: Services, provider: Provider) -> None:
    bundle = ask(reranking)
    assert isinstance(bundle.explain, list)
    said = [item["signals"]["rerank"] for item in bundle.explain]
    assert said == sorted(said, reverse=True) and said[0] == 1.0
    assert len(provider.calls("rerank")) == 1
    with operator_transaction(reranking.pool) as conn:
        assert conn.execute("select kind, outcome from provider_calls").fetchall() == [("rerank", "ok")]


@pytest.mark.parametrize(
    "behaviour", [fails(500), invalid_json, empty, slow(3.0)], ids=["500", "no JSON", "empty", "slow"]
)
def test_our_order_stands_when_the_model_fails(reranking: Services, provider: Provider, behaviour: Behaviour) -> None:
    off = dataclasses.replace(reranking, settings=dataclasses.replace(reranking.settings, rerank_model=None))
    ours = order(ask(off))
    provider.always(behaviour, route="rerank")
    bundle = ask(reranking)
    assert order(bundle) == ours
    assert isinstance(bundle.explain, list)
    assert not any("rerank" in item["signals"] for item in bundle.explain)


def test_without_budget_nobody_is_asked(reranking: Services, provider: Provider) -> None:
    poor = dataclasses.replace(reranking.settings, llm_daily_budget_tokens=0)
    ask(dataclasses.replace(reranking, settings=poor))
    assert provider.calls("rerank") == []


def test_a_key_goes_to_its_own_vendor_and_to_nobody_else(reranking: Services, provider: Provider) -> None:
    ask(reranking)
    assert not any(KEY in value for value in provider.calls("rerank")[0].headers.values())
