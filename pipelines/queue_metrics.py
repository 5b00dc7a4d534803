"""What queues hold, for Prometheus: read from the database when somebody asks, so that every process says the same."""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from config.metrics import VARIABLE
from pipelines import operations
from storage import health
from storage.transactions import DATABASE_AWAY, Pool, operator_transaction

#: Name of a field of `QueueFigures`, and what it means.
_GAUGES = {
    "ready": "Runs that could be worked on now",
    "scheduled": "Runs that are due later",
    "running": "Runs that are worked on",
    "dead": "Dead letters",
    "quarantined": "Dead letters that killed their workers",
    "oldest_age_seconds": "For how long the longest-waiting ready run has waited",
    "finished_last_minute": "Runs that ended within the last minute",
    "paused": "Whether the queue is paused",
}


class QueueCollector(Collector):
    """Depth, age, running, dead and speed of every queue, and the connections of all our processes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not query the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("statewave_database_up", "Whether the database answers")
        try:
            figures = operations.list_queues(self._pool)
            with operator_transaction(self._pool) as conn:
                connections = health.connections_by_state(conn)
        except DATABASE_AWAY:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        for field, meaning in _GAUGES.items():
            gauge = GaugeMetricFamily(f"statewave_queue_{field}", meaning, labels=["queue"])
            for row in figures:
                gauge.add_metric([row.queue], float(getattr(row, field) or 0))
            yield gauge
        used = GaugeMetricFamily("statewave_database_connections", "Connections of all our processes", labels=["state"])
        for state, count in connections.items():
            used.add_metric([state], count)
        yield used


def exposition(pool: Pool) -> bytes:
    """All metrics in the text format of Prometheus: those of all processes that count together, and the queues."""
    registry = CollectorRegistry()
    if VARIABLE in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        own = generate_latest(registry)
    else:
        own = generate_latest(REGISTRY)
    queues = CollectorRegistry()
    queues.register(QueueCollector(pool))
    return own + generate_latest(queues)
