"""Opening what a process owns, for the API and for workers alike."""

from __future__ import annotations

import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.broker import ANSWER_SECONDS, CONNECT_SECONDS
from config.settings import Settings
from pipelines.embedders import open_embedder, open_model
from pipelines.providers.desk import ProviderDesk
from pipelines.providers.fleet import ModelFleet
from pipelines.query_vectors import QueryVectors
from pipelines.services import Services
from pipelines.terms import use_languages
from storage.passage_cache import PassageCache
from storage.transactions import open_pool


def impatient_client(settings: Settings) -> redis.Redis | None:
    """Redis for what can go on without it: a server that is away costs a moment and not several tries."""
    if settings.redis_url is None:
        return None
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def open_services(settings: Settings, broker: RedisBroker, *, pool_size: int) -> Services:
    """Connect to what the settings name. Call it after a fork; close the pool at the end.

    Raises:
        RuntimeError: when no database is named.
        psycopg_pool.PoolTimeout: when the database does not answer.
    """
    if settings.database_url is None:
        raise RuntimeError("STATEWAVE_DATABASE_URL is not set; `statewave up` sets it for the processes it starts")
    use_languages(settings.language_dir)
    impatient = impatient_client(settings)
    desk = ProviderDesk(impatient) if impatient is not None else None
    embedder = open_embedder(settings, desk=desk)
    if embedder is not None and not embedder.is_remote:
        # Loading the weights takes longer than a request should: do it before the first one.
        embedder.embed(["ready"])

    def ping() -> None:
        broker.client.ping()

    pool = open_pool(
        settings.database_url,
        size=pool_size,
        statement_timeout_seconds=settings.statement_timeout_seconds,
        # Who is silent for as long as a lease counts as dead, and must not hold locks any longer.
        idle_timeout_seconds=settings.lease_seconds,
    )
    return Services(
        settings=settings,
        pool=pool,
        embedder=embedder,
        ping_broker=ping,
        models=ModelFleet(settings, pool, impatient) if settings.compiler_type == "llm" else None,
        open_model=open_model(settings, desk),
        desk=desk,
        query_vectors=QueryVectors(impatient),
        passages=PassageCache(settings.subject_cache_mb * 1024 * 1024) if settings.subject_cache_mb else None,
    )
