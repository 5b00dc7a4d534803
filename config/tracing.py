"""Trace context (W3C Trace Context, level 2): which request caused what, over process boundaries.

A request that brings a `traceparent` header is followed under its trace id; any other starts a trace of its own. The
value is stored on the runs that the request causes and is current again while a worker works on them.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from contextvars import ContextVar

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?\Z")

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current_traceparent() -> str | None:
    """The context of what this thread works on."""
    return _current.get()


def trace_id(traceparent: str | None) -> str | None:
    """The 32 hexadecimal digits that all parts of a trace share; None for what is no trace context."""
    match = _FORM.match(traceparent) if traceparent else None
    return match.group(1) if match else None


def child_of(traceparent: str | None) -> str:
    """A context of our own within the caller's trace, or of a new trace when there is none that is valid."""
    trace = trace_id(traceparent)
    flags = traceparent[53:55] if trace and traceparent else "00"
    return f"00-{trace or secrets.token_hex(16)}-{secrets.token_hex(8)}-{flags}"


def begin(traceparent: str | None) -> None:
    """Make the context current until the thread begins another."""
    _current.set(traceparent)


@contextlib.contextmanager
def tracing(traceparent: str | None) -> Iterator[None]:
    """Make the context current inside the block."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)
