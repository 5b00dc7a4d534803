"""Every request gets an id that its answer, its log events and the runs it causes carry."""

from __future__ import annotations

import time

import falcon
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from api.request import ApiRequest
from config.ids import request_id
from storage.transactions import statements_sent

#: Longest request id that is taken from a caller.
LONGEST_ID = 128

#: Probes would drown everything else.
_QUIET_PATHS = frozenset({"/healthz", "/health", "/readyz", "/ready", "/metrics"})


class RequestIds:
    """First in, last out: binds the id, and writes the access log."""

    def __init__(self) -> None:
        # PERF: bound once. A logger that is looked for by every request is put together by every request.
        self._log = structlog.get_logger().bind()

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        sent = request.get_header("X-Request-ID") or ""
        usable = 0 < len(sent) <= LONGEST_ID and sent.isascii() and sent.isprintable()
        context = request.context
        context.request_id = sent if usable else request_id()
        context.started = time.perf_counter()
        statements_sent.set(0)
        clear_contextvars()
        bind_contextvars(request_id=context.request_id)

    def process_response(
        self, request: ApiRequest, response: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        context = request.context
        response.set_header("X-Request-ID", context.request_id)
        if request.path in _QUIET_PATHS:
            return
        # The template, not the path: ids in paths may name people. Query strings and bodies never reach the log.
        self._log.info(
            "request",
            method=request.method,
            route=context.route or request.uri_template or "-",
            status=int(response.status[:3]) if isinstance(response.status, str) else response.status,
            ms=round((time.perf_counter() - context.started) * 1000, 1),
            sql=statements_sent.get(),
        )
