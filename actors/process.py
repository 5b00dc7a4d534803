"""What one worker process owns, opened when the process starts and closed when it stops."""

from __future__ import annotations

import threading

import structlog
from dramatiq import Broker, Middleware, Worker, get_broker
from dramatiq.brokers.redis import RedisBroker

from actors.leases import LeaseKeeper
from actors.relay import Relay
from actors.services import open_services
from actors.usage_flusher import UsageFlusher
from config.settings import Settings, load_settings
from pipelines.chat import is_configured
from pipelines.compile_runs import queue_of
from pipelines.providers import adapter
from pipelines.providers.calls import ProviderFailure
from pipelines.services import Services
from storage import runs
from storage.transactions import DATABASE_AWAY, operator_transaction

log = structlog.get_logger()

#: Every actor thread may hold a database connection while the lease keeper and the relay use theirs. One of these is
#: the relay's listener, which is not of the pool.
CONNECTIONS_BESIDE_ACTORS = 4


class Process:
    """The services, threads and state of this worker process."""

    def __init__(self, settings: Settings, broker: RedisBroker) -> None:
        self.services: Services = open_services(
            settings, broker, pool_size=settings.worker_threads + CONNECTIONS_BESIDE_ACTORS - 1
        )
        self.leases = LeaseKeeper(self.services.pool, lease_seconds=settings.lease_seconds)
        self.leases.start()
        self._flusher = UsageFlusher(self.services)
        self._flusher.start()
        self.relay: Relay | None = None
        self.is_stopping = False

    def serves(self, queue: str) -> bool:
        """Whether this process works on runs of the queue."""
        return self.relay is not None and queue in self.relay.queues

    def run_ended(self) -> None:
        """A thread is free again."""
        if self.relay is not None:
            self.relay.pace.note_end()
            self.relay.nudge()

    def close(self) -> None:
        """Release what is still held, name it, and give back connections."""
        self.leases.stop()
        for run in self.leases.held():
            try:
                with operator_transaction(self.services.pool) as conn:
                    released = runs.release(conn, run)
            except DATABASE_AWAY:
                released = False
            log.warning("run cut off", run_id=str(run.id), kind=run.kind, stage=run.stage, released=released)
        self._flusher.stop()
        self.services.pool.close()


_process: Process | None = None
_opening = threading.Lock()


def process() -> Process:
    """This process's parts, opened on first use.

    Raises:
        psycopg.OperationalError: while the database does not answer.
    """
    global _process
    with _opening:
        if _process is None:
            broker = get_broker()
            if not isinstance(broker, RedisBroker):
                raise RuntimeError("the process has no Redis broker: import actors.main first")
            _process = Process(load_settings(), broker)
    return _process


def _load_providers() -> None:
    try:
        adapter.load()
    except ProviderFailure:
        log.error("litellm is not installed", remedy="pip install 'statewave-server[llm]'")


class ProcessServices(Middleware):
    """Opens the process's parts and runs the relay beside the actors, until the worker is told to stop."""

    def __init__(self) -> None:
        self._relay: Relay | None = None

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        # In the main thread, before there are others: native libraries are loaded here, which not all of them survive
        # while other threads start.
        settings = load_settings()
        served = worker.consumer_whitelist
        asks = queue_of(settings) == "llm" or is_configured(settings)
        if asks and (not served or "llm" in served):
            _load_providers()
        try:
            process()
        except DATABASE_AWAY as ex:
            log.warning("database away", reason=type(ex).__name__)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        assert isinstance(broker, RedisBroker)
        served = worker.consumer_whitelist
        queues = [queue for queue in broker.get_declared_queues() if not served or queue in served]
        # The relay opens the rest in its own thread, again and again while the database is away.
        self._relay = Relay(self._opened, broker, queues, threads=worker.worker_threads)
        self._relay.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self._relay is not None:
            self._relay.stop()
        if _process is not None:
            _process.is_stopping = True

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        global _process
        if _process is not None:
            _process.close()
            _process = None

    def _opened(self) -> Services:
        own = process()
        own.relay = self._relay
        return own.services
