"""Errors to Sentry, when `STATEWAVE_SENTRY_DSN` is set. What is sent: types, places in the code, and our own ids.

Never sent: what users said. Exception messages may quote it (a database error names the offending value), so do
request bodies, query strings, local variables, log messages and the arguments of actors: all of it is taken out.
"""

from __future__ import annotations

import sys
from typing import Any

from config.settings import Settings

#: Request headers that say nothing about people or keys.
HARMLESS_HEADERS = frozenset({"content-type", "content-length", "user-agent", "x-request-id", "traceparent"})

#: Tags that we set ourselves.
OUR_TAGS = frozenset({"process", "request_id", "run_id", "kind", "stage", "queue", "trace_id"})

_HIDDEN = "[hidden]"


def start_error_reporting(settings: Settings, *, process: str, transport: Any = None) -> None:
    """Begin to report unhandled errors. Call it after a fork, and before the broker is built.

    Args:
        process: what this process is: `api` or `worker`.
        transport: where events go instead of over the network.
    """
    if settings.sentry_dsn is None and transport is None:
        return
    import sentry_sdk
    from sentry_sdk.integrations.logging import LoggingIntegration

    integrations: list[Any] = [LoggingIntegration(level=None, event_level=None)]
    if process == "api":
        from sentry_sdk.integrations.falcon import FalconIntegration

        integrations.append(FalconIntegration())
    else:
        from sentry_sdk.integrations.dramatiq import DramatiqIntegration

        integrations.append(DramatiqIntegration())
    sentry_sdk.init(
        dsn=settings.sentry_dsn,
        transport=transport,
        integrations=integrations,
        # Found by itself it would import every library it knows, some of which take seconds.
        auto_enabling_integrations=False,
        max_request_body_size="never",
        include_local_variables=False,
        max_breadcrumbs=0,
        before_send=scrub,
    )
    sentry_sdk.set_tag("process", process)


def report(ex: BaseException, **tags: str | None) -> None:
    """Report an error that was handled but that somebody should know of. Nothing happens where reporting is off."""
    sdk = sys.modules.get("sentry_sdk")
    if sdk is None or not sdk.is_initialized():
        return
    with sdk.new_scope() as scope:
        for name, value in tags.items():
            if value is not None:
                scope.set_tag(name, value)
        sdk.capture_exception(ex)


def scrub(event: Any, hint: Any) -> Any:
    """Take everything out of an event that could hold content."""
    for exception in event.get("exception", {}).get("values", []):
        exception["value"] = _HIDDEN
        for frame in exception.get("stacktrace", {}).get("frames", []):
            frame.pop("vars", None)
    request = event.get("request", {})
    for field in ("data", "query_string", "cookies", "env"):
        request.pop(field, None)
    # Ids in paths may name people; the transaction's name is the route.
    request.pop("url", None)
    if "headers" in request:
        request["headers"] = {k: v for k, v in request["headers"].items() if k.lower() in HARMLESS_HEADERS}
    contexts = event.get("contexts", {})
    for name in list(contexts):
        if name not in ("runtime", "trace", "os"):
            del contexts[name]
    for field in ("breadcrumbs", "extra", "user", "logentry", "message"):
        event.pop(field, None)
    if isinstance(event.get("tags"), dict):
        event["tags"] = {name: value for name, value in event["tags"].items() if name in OUR_TAGS}
    return event
