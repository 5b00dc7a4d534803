"""The operators' overview: how the server is, what it holds, and which of its settings are unsafe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from config.settings import Settings, variable
from pipelines.readiness import Readiness, readiness
from pipelines.schema import schema
from pipelines.services import Services
from storage import overview, webhook_log
from storage.migrate import SchemaState
from storage.transactions import operator_transaction

#: Keys that stand in examples everywhere; whoever guesses tries them first.
PLACEHOLDER_KEYS = frozenset({"changeme", "change-me", "dev", "dev-key", "secret", "test", "your-api-key", "statewave"})

#: Shorter keys can be found by trying.
SHORTEST_KEY = 16


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the first page of a console shows."""

    readiness: Readiness
    schema: SchemaState
    counts: dict[str, int]
    jobs: dict[str, int]
    webhooks: dict[str, int]
    health: dict[str, int]


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that is unsafe or unwise (contract: governance §9.1), and what would put it right."""

    id: str
    severity: Literal["critical", "high", "medium", "low"]
    title: str
    summary: str
    fix: dict[str, Any]


def look(services: Services) -> Overview:
    """Everything at once."""
    ready, state = readiness(services), schema(services)
    with operator_transaction(services.pool) as conn:
        return Overview(
            readiness=ready,
            schema=state,
            counts=overview.counts(conn),
            jobs=overview.jobs_by_state(conn),
            webhooks=webhook_log.statistics(conn, None),
            health=overview.subjects_by_health(conn),
        )


def issues(settings: Settings) -> list[Issue]:
    """What is unsafe or unwise about the settings in force, the worst first."""
    order = ("critical", "high", "medium", "low")
    return sorted(_issues(settings), key=lambda issue: order.index(issue.severity))


def _issues(settings: Settings) -> Iterator[Issue]:
    if not settings.api_key and not settings.require_api_key:
        yield _issue(
            "no_backend_auth",
            "critical",
            "Everybody may call",
            "No key is asked for: whoever reaches the server reads and deletes everything.",
            "require_api_key",
            "true",
        )
    elif settings.api_key and (settings.api_key.lower() in PLACEHOLDER_KEYS or len(settings.api_key) < SHORTEST_KEY):
        yield _issue(
            "dev_placeholder_api_key",
            "critical",
            "The shared key can be guessed",
            f"It is a word of examples, or shorter than {SHORTEST_KEY} characters.",
            "api_key",
        )
    if "*" in settings.cors_origins:
        yield _issue(
            "permissive_cors",
            "medium",
            "Any web page may call",
            "Browsers let scripts of every origin call this server with what their users have.",
            "cors_origins",
        )
    if settings.log_level == "DEBUG":
        yield _issue(
            "debug_logging", "low", "Logs are verbose", "DEBUG is for looking for faults.", "log_level", "INFO"
        )
    if settings.embedding_provider == "none":
        yield _issue(
            "stub_embeddings",
            "medium",
            "Retrieval by words alone",
            "Without embeddings what is meant is found only where the same words are used.",
            "embedding_provider",
            "local",
        )
    if not settings.rate_limit_rpm:
        yield _issue(
            "no_rate_limit",
            "medium",
            "Requests are not limited",
            "One client may take all there is.",
            "rate_limit_rpm",
            "600",
        )
    if settings.region is None:
        yield _issue(
            "no_region",
            "low",
            "No region is set",
            "Tenants that are pinned to a region are served all the same.",
            "region",
        )


def _issue(
    id: str,
    severity: Literal["critical", "high", "medium", "low"],
    title: str,
    summary: str,
    field: str,
    value: str | None = None,
) -> Issue:
    fix = {"kind": "env", "env_name": variable(field), "value": value}
    return Issue(id=id, severity=severity, title=title, summary=summary, fix=fix)
