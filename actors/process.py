"""What one worker process owns, opened when the process starts and closed when it stops."""

from __future__ import annotations

import threading

from dramatiq import Broker, Middleware, Worker

from actors.leases import LeaseKeeper
from actors.relay import Relay
from actors.wake import wake
from config.settings import Settings, load_settings
from pipelines.embedders import open_embedder
from pipelines.services import Services
from storage.transactions import open_pool

_services: Services | None = None
_leases: LeaseKeeper | None = None
_opening = threading.Lock()


class ProcessServices(Middleware):
    """Opens the process's services before its first message and starts the threads that live beside the actors."""

    def __init__(self) -> None:
        self._relay: Relay | None = None

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        opened = services()
        served = worker.consumer_whitelist
        queues = [queue for queue in broker.get_declared_queues() if not served or queue in served]
        self._relay = Relay(opened.pool, queues)
        self._relay.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self._relay is not None:
            self._relay.stop()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        close()


def services() -> Services:
    """The services of this process, opened on first use."""
    global _services, _leases
    with _opening:
        if _services is None:
            settings = load_settings()
            _services = _open(settings)
            _leases = LeaseKeeper(_services.pool, lease_seconds=settings.lease_seconds)
            _leases.start()
    return _services


def leases() -> LeaseKeeper:
    """The keeper of this process's leases."""
    services()
    assert _leases is not None
    return _leases


def close() -> None:
    """Give back what `services` opened."""
    global _services, _leases
    with _opening:
        if _leases is not None:
            _leases.stop()
        if _services is not None:
            _services.pool.close()
        _services = _leases = None


def _open(settings: Settings) -> Services:
    if settings.database_url is None:
        raise RuntimeError("STATEWAVE_DATABASE_URL is not set; `statewave up` sets it for the worker it starts")
    # Every thread may hold a connection while the relay and the lease keeper use theirs.
    size = settings.worker_threads + 4
    return Services(
        settings=settings,
        pool=open_pool(
            settings.database_url, size=size, statement_timeout_seconds=settings.statement_timeout_seconds
        ),
        embedder=open_embedder(settings),
        wake=wake,
        ping_broker=lambda: None,
    )
