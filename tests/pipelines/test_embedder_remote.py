"""Embeddings of a provider: over real HTTP, in batches, as unit vectors; its failures never fail a reader."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
import redis

from pipelines import compile_stages
from pipelines.compile import request_compile
from pipelines.context import ContextBundle, ContextRequest, assemble_context
from pipelines.embedder_remote import BATCH_TEXTS, WrongDimension
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.providers.calls import ProviderFailure
from pipelines.query_vectors import QueryVectors
from pipelines.search import search_memories
from pipelines.services import Services
from storage import runs, subjects
from storage.rows import Run
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.desk import KEY, with_provider
from tests.fixtures.provider import (
    Behaviour,
    Provider,
    cut_off,
    empty,
    fails,
    invalid_json,
    not_a_number,
    rate_limited,
    slow,
    too_few_vectors,
    wrong_dimension,
)

TENANT = "acme"


def tell(services: Services) -> None:
    lines = ["I keep seven bees behind the house", "My sister Ada lives in Lisbon", "I moved to Berlin in May"]
    append_episodes(
        services,
        TENANT,
        [
            NewEpisode(subject_id="bob", session_id="s", source="chat", type="message", payload={"text": line})
            for line in lines
        ],
        request_id=None,
    )


STAGES = {
    compile_stages.COMPILE: compile_stages.draft,
    compile_stages.LABEL: compile_stages.label,
    compile_stages.EMBED: compile_stages.embed,
    compile_stages.PUBLISH: compile_stages.publish,
}


def work(services: Services) -> None:
    """Compile the subject as a worker of the queue `llm` does."""
    run: Run | None
    run, _ = request_compile(services, TENANT, "bob", request_id=None)
    assert run.queue == "llm"
    while run is not None and run.state in ("pending", "running"):
        with operator_transaction(services.pool) as conn:
            run = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
        assert run is not None
        run = STAGES[run.stage](services, run)


def ask(services: Services, task: str = "Where are the bees?") -> ContextBundle:
    return assemble_context(services, TENANT, ContextRequest(subject_id="bob", task=task, max_tokens=300, explain=True))


def test_vectors_are_units_in_order_whatever_the_batches(remote: Services, provider: Provider) -> None:
    assert remote.embedder is not None
    texts = [f"word{number} and more" for number in range(BATCH_TEXTS + 5)]
    texts[7] = "  "
    vectors = remote.embedder.embed(texts)
    assert vectors.shape == (len(texts), 32)
    norms = np.linalg.norm(vectors, axis=1)
    assert norms[7] == 0 and np.allclose(np.delete(norms, 7), 1)
    assert len(provider.calls("embeddings")) == 2
    assert np.allclose(vectors[3], remote.embedder.embed_query(texts[3]))


def test_another_width_is_refused_with_what_to_set(remote: Services, provider: Provider) -> None:
    assert remote.embedder is not None
    provider.then(wrong_dimension(48), route="embeddings")
    with pytest.raises(WrongDimension, match="STATEWAVE_EMBEDDING_DIMENSIONS=48"):
        remote.embedder.embed(["hello"])


def test_a_subject_is_compiled_and_read_with_the_provider(remote: Services, provider: Provider) -> None:
    tell(remote)
    work(remote)
    bundle = ask(remote)
    assert bundle.search_mode == "semantic"
    assert "seven bees" in bundle.assembled_context
    asked = len(provider.calls("embeddings"))
    ask(remote)
    assert len(provider.calls("embeddings")) == asked
    with operator_transaction(remote.pool) as conn:
        rows = conn.execute(
            "select tenant_id, subject_id, kind, outcome, run_id is not null from provider_calls order by at"
        ).fetchall()
    assert set(rows) == {(TENANT, "bob", "embedding", "ok", True), (TENANT, "bob", "embedding", "ok", False)}


@pytest.mark.parametrize(
    "behaviour",
    [
        rate_limited("30"),
        fails(500),
        fails(401, code="invalid_api_key"),
        cut_off,
        invalid_json,
        empty,
        not_a_number,
        too_few_vectors,
        wrong_dimension(16),
    ],
    ids=["429", "500", "401", "cut off", "no JSON", "empty", "NaN", "too few", "too narrow"],
)
def test_a_reader_goes_by_words_when_the_provider_fails(
    remote: Services, provider: Provider, behaviour: Behaviour
) -> None:
    tell(remote)
    work(remote)
    provider.always(behaviour, route="embeddings")
    bundle = ask(remote)
    assert bundle.search_mode == "text_fallback"
    assert "seven bees" in bundle.assembled_context
    found = search_memories(remote, TENANT, subject_id="bob", query="Lisbon", semantic=True)
    assert found.search_mode == "text_fallback"


def test_a_slow_provider_costs_a_reader_no_more_than_its_time(
    services: Services, redis_client: redis.Redis, provider: Provider, open_desk: object
) -> None:
    remote = with_provider(services, redis_client, provider, embedding_query_timeout_seconds=0.3)
    tell(remote)
    work(remote)
    provider.always(slow(3.0), route="embeddings")
    assert ask(remote).search_mode == "text_fallback"


def test_nobody_waits_where_no_worker_takes_calls(
    services: Services, redis_client: redis.Redis, provider: Provider
) -> None:
    remote = with_provider(services, redis_client, provider)
    assert remote.embedder is not None
    with pytest.raises(ProviderFailure, match="unreachable") as caught:
        remote.embedder.embed_query("hello")
    assert caught.value.code == "no_worker_for_llm"


def test_a_provider_that_is_away_consumes_no_episode(remote: Services, provider: Provider) -> None:
    tell(remote)
    provider.always(fails(503), route="embeddings")
    with pytest.raises(ProviderFailure):
        work(remote)
    with tenant_transaction(remote.pool, TENANT) as conn:
        progress = subjects.progress(conn, TENANT, "bob")
    assert progress is not None and progress.uncompiled == 3 and progress.passage_count == 0


def test_without_budget_memories_are_compiled_and_vectors_come_later(remote: Services, provider: Provider) -> None:
    poor = dataclasses.replace(
        remote,
        settings=dataclasses.replace(remote.settings, llm_daily_budget_tokens=0),
        query_vectors=QueryVectors(None),
    )
    tell(poor)
    work(poor)
    assert provider.calls("embeddings") == []
    bundle = ask(poor)
    assert bundle.search_mode == "text_fallback" and "seven bees" in bundle.assembled_context
    with operator_transaction(remote.pool) as conn:
        waiting = conn.execute("select queue, params ->> 'model' from runs where kind = 'embed_subject'").fetchall()
    assert waiting == [("llm", "litellm:openai/words@32")]


def test_the_key_is_added_where_the_call_is_made(
    services: Services, redis_client: redis.Redis, provider: Provider, open_desk: object
) -> None:
    remote = with_provider(services, redis_client, provider, litellm_api_key=None)
    assert remote.embedder is not None
    remote.embedder.embed_query("hello")
    assert provider.calls("embeddings")[0].headers["authorization"] == f"Bearer {KEY}"
