"""The server itself: is it there, can it serve, which version is it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from api.operations import Call, Operation, Reply
from api.schemas.service import Alive, Version
from pipelines.readiness import Readiness, readiness


def alive(call: Call) -> Alive:
    return Alive()


def ready(call: Call) -> Reply:
    found = readiness(call.services)
    return Reply(found, 503 if found.status == "not_ready" else 200)


def versions(call: Call) -> Version:
    return Version(version=server_version())


@cache
def server_version() -> str:
    """Version of the installed package; "unknown" when it runs from a bare checkout."""
    try:
        return version("statewave-server")
    except PackageNotFoundError:
        return "unknown"


OPERATIONS = [
    Operation(
        "GET",
        "/healthz",
        "Whether the process answers",
        alive,
        {200: Alive},
        tag="Service",
        is_public=True,
        aliases=("/health",),
    ),
    Operation(
        "GET",
        "/readyz",
        "Whether the server can serve, and what is wrong if not",
        ready,
        {200: Readiness, 503: Readiness},
        tag="Service",
        is_public=True,
        aliases=("/ready",),
    ),
    Operation(
        "GET",
        "/v1/version",
        "Version of the server and of its contract",
        versions,
        {200: Version},
        tag="Service",
        is_public=True,
    ),
]
