"""Recording how a session stands, and reading it back (contract: core §6.13)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from config.clock import utcnow
from config.ids import uuid7
from pipelines.policy.evaluation import ANONYMOUS, Caller
from pipelines.policy.in_force import reading_as
from pipelines.policy.visibility import REDACTED
from pipelines.services import Services
from storage import health_states, resolutions
from storage.resolutions import Resolution
from storage.transactions import tenant_transaction

Status = Literal["open", "resolved", "unresolved"]

_json = msgspec.json.Encoder()


def record_resolution(
    services: Services,
    tenant_id: str,
    *,
    subject_id: str,
    session_id: str,
    status: Status = "open",
    summary: str | None = None,
    metadata: dict[str, Any] | None = None,
    resolved_at: datetime | None = None,
    request_id: str | None = None,
) -> Resolution:
    """Record how a session stands. What is left out is cleared, and a session that is resolved again is resolved now.

    Args:
        resolved_at: When a session was resolved whose history is being replayed; now if unset. Means nothing for
            other states.
    """
    now = utcnow()
    with tenant_transaction(services.pool, tenant_id) as conn:
        resolution = resolutions.upsert(
            conn,
            tenant_id,
            subject_id,
            session_id,
            resolution_id=uuid7(),
            status=status,
            summary=summary,
            metadata=_json.encode(metadata or {}),
            resolved_at=(resolved_at or now) if status == "resolved" else None,
            now=now,
        )
        health_states.schedule(
            conn, tenant_id, [subject_id], run_after=now + health_states.QUIET, request_id=request_id
        )
    return resolution


def list_resolutions(
    services: Services,
    tenant_id: str,
    *,
    subject_id: str,
    status: Status | None,
    limit: int,
    offset: int = 0,
    caller: Caller = ANONYMOUS,
) -> list[Resolution]:
    """One page of the subject's resolutions, newest update first.

    Of a session with an episode that the policy withholds from the caller, summary and metadata are redacted.
    """
    with reading_as(services, tenant_id, caller, subject_id=subject_id) as reader:
        visibility = reader.visibility(subject_id)
        page = resolutions.list_resolutions(
            reader.conn, tenant_id, subject_id, status=status, limit=limit, offset=offset
        )
    return [item if visibility.shows_session_text(item.session_id) else _redacted(item) for item in page]


def _redacted(resolution: Resolution) -> Resolution:
    summary = REDACTED if resolution.resolution_summary is not None else None
    return msgspec.structs.replace(resolution, resolution_summary=summary, metadata=msgspec.Raw(b"{}"))
