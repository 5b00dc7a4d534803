"""What one worker process owns, opened when the process starts and closed when it stops."""

from __future__ import annotations

import threading

from dramatiq import Broker, Middleware, Worker, get_broker
from dramatiq.brokers.redis import RedisBroker

from actors.leases import LeaseKeeper
from actors.relay import Relay
from actors.services import open_services
from config.settings import load_settings
from pipelines.services import Services

#: Every actor thread may hold a database connection while the relay and the lease keeper use theirs.
CONNECTIONS_BESIDE_ACTORS = 4

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
            connections = settings.worker_threads + CONNECTIONS_BESIDE_ACTORS
            _services = open_services(settings, _redis_broker(), pool_size=connections)
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


def _redis_broker() -> RedisBroker:
    broker = get_broker()
    if not isinstance(broker, RedisBroker):
        raise RuntimeError("the process has no Redis broker: import actors.main first")
    return broker
