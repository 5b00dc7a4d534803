"""gunicorn's configuration: `gunicorn -c python:config.gunicorn api.wsgi:app`, which is what `statewave api` runs.

Nothing is loaded before the fork: connections and threads do not survive one.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gunicorn.util
from gunicorn.glogging import Logger

from config.error_reporting import start_error_reporting
from config.logging import configure_logging
from config.metrics import forget_metrics, share_metrics
from config.settings import load_settings

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker


#: New objects after which the collector looks for cycles.
YOUNG_OBJECTS = 10_000

_CODES = {413: "body_too_large", 414: "uri_too_long", 431: "headers_too_large", 500: "internal_error"}


class EventLogger(Logger):  # type: ignore[misc]
    """Lets gunicorn's messages take the way of all others, instead of handlers of their own."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def write_envelope(client: Any, status: int, reason: str, message: str) -> None:
    """Answer what never becomes a request (a line that is too long, headers that are none) as everything else is.

    Stands in for `gunicorn.util.write_error`, which would send a page of HTML.
    """
    error = {"code": _CODES.get(status, "bad_request"), "message": message or reason, "details": None}
    body = json.dumps({"error": {**error, "request_id": None}}).encode()
    head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
    gunicorn.util.write_nonblock(client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)


gunicorn.util.write_error = write_envelope

_settings = load_settings()
# Before anything imports a metric, in this process or in those it forks.
share_metrics()

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.api_workers
threads = _settings.api_threads
worker_class = "gthread"
preload_app = False
# Connections are kept open between the requests of a client: reconnecting would halve the throughput.
keepalive = 75
# Seconds without a sign of life of a whole worker. A slow request is bounded by the statement timeout instead.
timeout = 60
graceful_timeout = 8
# The heartbeat file of a worker must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
# It would be shared by every gunicorn of the user, and we steer by signals.
control_socket_disable = True
limit_request_line = 8190
accesslog = None
logger_class = EventLogger
proc_name = "statewave-api"


def on_starting(server: Arbiter) -> None:
    configure_logging(_settings, process="api")


def post_fork(server: Arbiter, worker: Worker) -> None:
    configure_logging(_settings, process="api")
    start_error_reporting(_settings, process="api")


def post_worker_init(worker: Worker) -> None:
    # What was loaded stays, so the collector need not look at it. A request makes some thousands of objects and leaves
    # hardly any cycle: with Python's threshold of 700, looking for them was a tenth of the processor time of a context.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
    # Reading the tokenizer's vocabulary leaves 4 MB that nothing would use again.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def child_exit(server: Arbiter, worker: Worker) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Arbiter) -> None:
    forget_metrics()
