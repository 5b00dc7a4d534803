"""Telling the world: each event of the contract (core §14) as a function, called within the transaction that causes it.

Nothing is stored when nobody listens. What is stored becomes visible with its cause or not at all, and the relay sends
workers after it; a wake-up message of its own would cost the request a round trip for a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from config import webhooks
from config.settings import Settings
from storage import webhook_deliveries
from storage.subjects import HIDDEN_PREFIXES
from storage.transactions import Connection

#: Health states from best to worst.
HEALTH_STATES = ("healthy", "watch", "at_risk")


def episode_created(
    conn: Connection, settings: Settings, tenant_id: str, subject_id: str, *, episode_id: UUID, request_id: str | None
) -> None:
    """One episode was stored that was not there before."""
    data = {"id": str(episode_id), "subject_id": subject_id}
    _record(conn, settings, tenant_id, webhooks.EPISODE_CREATED, data, [subject_id], request_id)


def batch_created(
    conn: Connection,
    settings: Settings,
    tenant_id: str,
    subject_ids: Sequence[str],
    *,
    count: int,
    request_id: str | None,
) -> None:
    """So many episodes of a batch were stored that were not there before."""
    distinct = list(dict.fromkeys(subject_ids))
    data = {"count": count, "subject_ids": distinct}
    _record(conn, settings, tenant_id, webhooks.BATCH_CREATED, data, distinct, request_id)


def memories_compiled(
    conn: Connection,
    settings: Settings,
    tenant_id: str,
    subject_id: str,
    *,
    memories_created: int,
    request_id: str | None,
) -> None:
    """A batch of a subject's episodes was compiled and published."""
    data = {"subject_id": subject_id, "memories_created": memories_created}
    _record(conn, settings, tenant_id, webhooks.MEMORIES_COMPILED, data, [subject_id], request_id)


def subject_deleted(
    conn: Connection,
    settings: Settings,
    tenant_id: str,
    subject_id: str,
    *,
    episodes_deleted: int,
    memories_deleted: int,
    request_id: str | None,
) -> None:
    """A subject that had episodes or memories was erased. Nothing is sent when it had none."""
    if not episodes_deleted and not memories_deleted:
        return
    data = {"subject_id": subject_id, "episodes_deleted": episodes_deleted, "memories_deleted": memories_deleted}
    # It is no row of the subject: erasing a subject of the same name again must not take back this message.
    _record(conn, settings, tenant_id, webhooks.SUBJECT_DELETED, data, [], request_id, hidden=_is_hidden(subject_id))


def health_changed(
    conn: Connection,
    settings: Settings,
    tenant_id: str,
    subject_id: str,
    *,
    previous_state: str,
    current_state: str,
    score: int,
    factors: Sequence[Mapping[str, Any]],
    generated_at: datetime,
    request_id: str | None,
) -> None:
    """A subject's health got worse or better. Nothing is sent when the state is the same."""
    change = HEALTH_STATES.index(current_state) - HEALTH_STATES.index(previous_state)
    if change == 0:
        return
    data = {
        "subject_id": subject_id,
        "previous_state": previous_state,
        "current_state": current_state,
        "score": score,
        "factors": [dict(factor) for factor in factors[:3]],
        "generated_at": generated_at.isoformat(),
    }
    event = webhooks.HEALTH_DEGRADED if change > 0 else webhooks.HEALTH_IMPROVED
    _record(conn, settings, tenant_id, event, data, [subject_id], request_id)


def global_endpoint_hears(settings: Settings, event: str) -> bool:
    """Whether the endpoint of `STATEWAVE_WEBHOOK_URL` is there and wants the event."""
    return settings.webhook_url is not None and (not settings.webhook_events or event in settings.webhook_events)


def _record(
    conn: Connection,
    settings: Settings,
    tenant_id: str,
    event: str,
    data: dict[str, Any],
    subject_ids: list[str],
    request_id: str | None,
    *,
    hidden: bool = False,
) -> None:
    if hidden or (subject_ids and all(_is_hidden(subject_id) for subject_id in subject_ids)):
        return
    deliveries = webhook_deliveries.record(
        conn,
        tenant_id,
        event,
        data,
        subject_id=subject_ids[0] if len(subject_ids) == 1 else None,
        global_listens=global_endpoint_hears(settings, event),
        request_id=request_id,
    )
    if deliveries and len(subject_ids) > 1:
        webhook_deliveries.name_subjects(conn, tenant_id, deliveries, subject_ids)


def _is_hidden(subject_id: str) -> bool:
    return subject_id.startswith(HIDDEN_PREFIXES)
