"""Metrics of workers: one small process beside them serves what all of them count, and what the queues hold.

It listens on `STATEWAVE_WORKER_METRICS_PORT` at `STATEWAVE_WORKER_METRICS_HOST`, and asks for no key: keep the port
inside the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from wsgiref.simple_server import WSGIRequestHandler, make_server

from dramatiq import Middleware

from config.settings import load_settings


class MetricsServer(Middleware):
    """Has dramatiq's main process start the server."""

    @property
    def forks(self) -> list[Callable[[], int]]:
        return [] if load_settings().worker_metrics_port is None else [serve_metrics]


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""


def serve_metrics() -> int:
    """Serve `/metrics` until the process is ended."""
    from prometheus_client import CONTENT_TYPE_LATEST

    from pipelines.queue_metrics import exposition
    from storage.transactions import open_pool

    settings = load_settings()
    assert settings.database_url is not None
    assert settings.worker_metrics_port is not None
    pool = open_pool(settings.database_url, size=1, statement_timeout_seconds=5)

    def answer(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        body = exposition(pool)
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [body]

    address = (settings.worker_metrics_host, settings.worker_metrics_port)
    with make_server(*address, answer, handler_class=_Silent) as server:
        server.serve_forever()
    return 0
