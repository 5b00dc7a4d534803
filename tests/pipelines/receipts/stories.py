"""Subjects with a past, for tests of receipts: what is told, asked, changed and replayed."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.compile import compile_now
from pipelines.context import ContextBundle, ContextRequest
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.receipts import emission, reading
from pipelines.receipts.body import Correlation
from pipelines.services import Services
from pipelines.support.handoff import Handoff, HandoffRequest, brief
from storage import tenant_configs
from storage.receipts import StoredReceipt
from storage.transactions import operator_transaction

TENANT = "acme"
SUBJECT = "ada"
START = datetime(2026, 3, 2, 9, tzinfo=UTC)

HMAC_KEY = bytes(range(32))
SEED = bytes(range(32, 64))
KEYS: dict[str, Any] = {"receipt_signing_keys": {"h1": HMAC_KEY}, "receipt_ed25519_keys": {"e1": SEED}}


def base64_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


def with_settings(services: Services, **changes: Any) -> Services:
    return dataclasses.replace(services, settings=dataclasses.replace(services.settings, **changes))


def configure(services: Services, tenant: str = TENANT, **config: Any) -> None:
    with operator_transaction(services.pool) as conn:
        tenant_configs.change(conn, tenant, config)


def tell(services: Services, *words: str, session: str = "s1", day: int = 0, tenant: str = TENANT) -> None:
    """Episodes of one message each, by the customer or (after `>`) by the agent."""
    episodes = [
        NewEpisode(
            subject_id=SUBJECT,
            session_id=session,
            source="chat",
            type="message",
            payload={"messages": [{"role": "assistant" if line[0] == ">" else "user", "content": line.lstrip("> ")}]},
            occurred_at=START + timedelta(days=day, minutes=minute),
        )
        for minute, line in enumerate(words)
    ]
    append_episodes(services, tenant, episodes, request_id=None)


def compile_all(services: Services, tenant: str = TENANT) -> None:
    compile_now(services, tenant, SUBJECT, request_id=None)


def ask(
    services: Services, task: str, *, tenant: str = TENANT, emit: bool | None = True, **fields: Any
) -> ContextBundle:
    """A context with its receipt, as the API makes it."""
    request = ContextRequest(**{"subject_id": SUBJECT, "task": task, "max_tokens": 1000, **fields})
    return emission.context_with_receipt(services, tenant, request, asked=emit, correlation=Correlation())


def hand_over(services: Services, session: str, *, tenant: str = TENANT, emit: bool | None = True) -> Handoff:
    """A handoff with its receipt, as the API makes it."""
    request = HandoffRequest(subject_id=SUBJECT, session_id=session)
    briefing = brief(services, tenant, request)
    return emission.handoff_with_receipt(services, tenant, briefing, request, asked=emit, correlation=Correlation())


def receipt(services: Services, delivered: ContextBundle | Handoff, tenant: str = TENANT) -> StoredReceipt:
    assert delivered.receipt_id is not None
    return reading.find(services, tenant, delivered.receipt_id)
