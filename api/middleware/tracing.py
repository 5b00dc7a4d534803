"""Trace context: a request that brings a `traceparent` is followed under its trace, into the runs it causes."""

from __future__ import annotations

import falcon
from structlog.contextvars import bind_contextvars

from api.request import ApiRequest
from config.tracing import begin, child_of, trace_id


class Tracing:
    """Makes the request's context current; a trace that the caller began is named in every event of the log."""

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        sent = request.get_header("traceparent")
        # Threads are used again: the next request begins its own before anything reads it.
        begin(child_of(sent))
        if trace := trace_id(sent):
            bind_contextvars(trace_id=trace)
