"""A server that compiles with a model, over the provider of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
import redis

from config.settings import Settings
from pipelines import attempts, compile_stages
from pipelines.compile import request_compile
from pipelines.embedders import open_embedder
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.providers.fleet import ModelFleet
from pipelines.services import Services
from storage import runs, subjects
from storage.memories import newest_memories
from storage.rows import Memory, Run
from storage.transactions import Pool, operator_transaction, tenant_transaction
from tests.fixtures.models import attentive
from tests.fixtures.provider import Provider

TENANT = "acme"
SUBJECT = "ada"
STAGES: dict[str, Callable[[Services, Run], Run | None]] = {
    compile_stages.COMPILE: compile_stages.draft,
    compile_stages.LABEL: compile_stages.label,
    compile_stages.EMBED: compile_stages.embed,
    compile_stages.RECONCILE: compile_stages.reconcile,
    compile_stages.PUBLISH: compile_stages.publish,
}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def llm_settings(settings: Settings, provider: Provider) -> Settings:
    provider.reply = attentive
    return replace(
        settings,
        compiler_type="llm",
        litellm_model="openai/gpt-4o-mini",
        litellm_api_base=provider.url,
        litellm_api_key="k",
        litellm_timeout_seconds=20.0,
        compile_wait_seconds=60.0,
        auto_compile_after_seconds=None,
    )


@pytest.fixture
def serve(pool: Pool, client: redis.Redis, llm_settings: Settings) -> Callable[..., Services]:
    """Make services with other settings than usual."""

    def make(**changes: object) -> Services:
        settings = replace(llm_settings, **changes)  # type: ignore[arg-type]
        return Services(
            settings=settings,
            pool=pool,
            embedder=open_embedder(settings),
            ping_broker=lambda: None,
            models=ModelFleet(settings, pool, client) if settings.compiler_type == "llm" else None,
        )

    return make


@pytest.fixture
def llm_services(serve: Callable[..., Services]) -> Services:
    return serve()


def tell(services: Services, *texts: str, role: str = "user", **payload: object) -> None:
    """Append one episode for each text."""
    append_episodes(
        services,
        TENANT,
        [
            NewEpisode(
                subject_id=SUBJECT,
                session_id="s",
                source="chat",
                type="message",
                payload={"messages": [{"role": role, "content": text}], **payload},
            )
            for text in texts
        ],
        request_id=None,
    )


def ask_for_run(services: Services) -> UUID:
    run, _ = request_compile(services, TENANT, SUBJECT, request_id=None)
    return run.id


def find(services: Services, run_id: UUID) -> Run:
    with tenant_transaction(services.pool, TENANT) as conn:
        run = runs.find(conn, run_id)
    assert run is not None
    return run


def work(services: Services, run_id: UUID, *, at_once: bool = True) -> Run:
    """Do what a worker does with the run until it waits or is finished; a run that waits for a time is due at once."""
    for _ in range(60):
        with operator_transaction(services.pool) as conn:
            if at_once:
                conn.execute("update runs set run_after = now() where id = %s and state = 'pending'", (run_id,))
            run = runs.claim(conn, run_id, stage=None, lease=timedelta(seconds=30))
        if run is None:
            break
        looked_at = attempts.before_work(services, run)
        assert looked_at is run
        try:
            after = STAGES[run.stage](services, run)
        except Exception as ex:
            after = attempts.give_back(services, run, ex)
        if after is None:
            break
        if after.state == "completed":
            break
    return find(services, run_id)


def active(services: Services, kind: str | None = None) -> list[Memory]:
    with tenant_transaction(services.pool, TENANT) as conn:
        return newest_memories(conn, TENANT, SUBJECT, kind=kind, limit=1000)


def contents(services: Services, kind: str | None = "profile_fact") -> list[str]:
    return sorted(memory.content for memory in active(services, kind))


def waiting(services: Services) -> int:
    with tenant_transaction(services.pool, TENANT) as conn:
        progress = subjects.progress(conn, TENANT, SUBJECT)
    assert progress is not None
    return progress.uncompiled


def forgive(services: Services) -> None:
    """Close all circuits, as if their time were over."""
    assert services.models is not None
    for endpoint in services.models.endpoints:
        services.models.breaker.succeeded(endpoint)
