"""What several tests of webhooks do: cause events, work off the queue, look at the accounts."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any
from uuid import UUID

from pipelines import webhook_delivery, webhook_endpoints
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction
from storage.webhook_endpoints import Endpoint

LEASE = timedelta(seconds=30)


def with_settings(services: Services, **changes: Any) -> Services:
    """The same process with other settings; webhooks may go to the loopback address, and nothing compiles by itself."""
    ours = {"webhook_allow_private": True, "auto_compile_after_seconds": None} | changes
    return dataclasses.replace(services, settings=dataclasses.replace(services.settings, **ours))


def add_endpoint(services: Services, url: str, tenant_id: str = "acme", **fields: Any) -> Endpoint:
    arguments: dict[str, Any] = {"events": [], "description": "", "secret": None, "enabled": True}
    return webhook_endpoints.create_endpoint(services, tenant_id, url=url, **(arguments | fields))


def said(subject_id: str = "ada", **fields: Any) -> NewEpisode:
    payload = {"messages": [{"role": "user", "content": "My name is Ada Moreau."}]}
    return NewEpisode(subject_id=subject_id, source="chat", type="message", payload=payload, **fields)


def say(services: Services, *subject_ids: str, tenant_id: str = "acme") -> None:
    """One episode for each subject, each by itself."""
    for subject_id in subject_ids or ("ada",):
        append_episodes(services, tenant_id, [said(subject_id)], request_id="request-1")


def due(services: Services) -> list[UUID]:
    """Webhook runs that a worker would take now, oldest first."""
    with operator_transaction(services.pool) as conn:
        rows = conn.execute(
            "select id from runs where queue = 'webhooks' and state in ('pending', 'running') and run_after <= now()"
            " and (lease_until is null or lease_until < now()) order by id"
        ).fetchall()
    return [run_id for (run_id,) in rows]


def deliver(services: Services, run_id: UUID) -> Run | None:
    """What the actor does with one message."""
    with operator_transaction(services.pool) as conn:
        run = runs.claim(conn, run_id, stage="deliver", lease=LEASE)
    return webhook_delivery.deliver(services, run) if run is not None else None


def deliver_due(services: Services) -> list[str]:
    """Attempt everything that is due once; the states of the runs after it."""
    after = [deliver(services, run_id) for run_id in due(services)]
    return [run.state if run is not None else "lost" for run in after]


def pass_time(services: Services) -> None:
    """All that waits is due, breakers may be tried, leases of the dead are over."""
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set run_after = now() - interval '1 second' where state = 'pending'")
        conn.execute("update runs set lease_until = now() - interval '1 second' where lease_until is not null")
        conn.execute(
            "update webhook_breakers set open_until = now() - interval '1 second' where open_until is not null"
        )


def accounts(services: Services) -> list[dict[str, Any]]:
    """Every delivery with its run, oldest first."""
    with operator_transaction(services.pool) as conn:
        cursor = conn.execute(
            "select d.id, d.tenant_id, d.event_id, d.endpoint_id, d.event, d.data::text::jsonb as data, d.http_status,"
            " d.last_attempt_at, r.state, r.attempts, r.error, r.errors, r.run_after - now() as due_in, r.subject_id"
            " from webhook_deliveries d join runs r using (id) order by d.id"
        )
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]
