"""Opening what a process owns, for the API and for workers alike."""

from __future__ import annotations

from dramatiq.brokers.redis import RedisBroker

from actors.broker import connect
from config.settings import Settings
from pipelines.embedders import open_embedder, open_model
from pipelines.providers.desk import ProviderDesk
from pipelines.providers.fleet import ModelFleet
from pipelines.query_vectors import QueryVectors
from pipelines.services import Services
from storage.transactions import open_pool


def open_services(settings: Settings, broker: RedisBroker, *, pool_size: int) -> Services:
    """Connect to what the settings name. Call it after a fork; close the pool at the end.

    Raises:
        RuntimeError: when no database is named.
        psycopg_pool.PoolTimeout: when the database does not answer.
    """
    if settings.database_url is None:
        raise RuntimeError("STATEWAVE_DATABASE_URL is not set; `statewave up` sets it for the processes it starts")
    impatient = connect(settings.redis_url, is_patient=False) if settings.redis_url else broker.client
    desk = ProviderDesk(impatient)
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
        models=ModelFleet(settings, pool, broker.client) if settings.compiler_type == "llm" else None,
        open_model=open_model(settings, desk),
        desk=desk,
        query_vectors=QueryVectors(impatient),
    )
