"""Making runs of any kind. Those of compilations, one per subject and quiet period: `storage.compile_requests`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from config.tracing import current_traceparent
from storage.rows import Run
from storage.runs import COLUMNS
from storage.transactions import Connection

_ADD = f"""
insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, unique_key, joinable, run_after, params,
                  request_id, traceparent, error, errors, finished_at, quarantined)
values (%(id)s, %(tenant)s, %(subject)s, %(kind)s, %(queue)s, %(stage)s, %(state)s, %(unique_key)s, %(joinable)s,
        now() + %(delay)s, %(params)s, %(request_id)s, %(traceparent)s, %(error)s,
        case when %(error)s::text is null then '[]'::jsonb
             else jsonb_build_array(jsonb_build_object(
                 'at', now(), 'stage', %(stage)s::text, 'error', %(error)s::text)) end,
        case when %(state)s = 'failed' then now() end, %(quarantined)s)
on conflict (tenant_id, unique_key) where joinable and state = 'pending' do nothing
returning {COLUMNS}
"""


def add(
    conn: Connection,
    *,
    run_id: UUID,
    tenant_id: str,
    subject_id: str | None,
    kind: str,
    queue: str,
    stage: str,
    unique_key: str,
    params: dict[str, Any],
    request_id: str | None = None,
    joinable: bool = True,
    dead: str | None = None,
    quarantined: bool = False,
    delay: timedelta = timedelta(),
) -> Run | None:
    """Add a run of any kind, due now or after `delay`; None when one with the same key waits already.

    Args:
        joinable: whether further requests with the key join it while it waits.
        dead: the error of a run that is born as a dead letter.
        quarantined: whether that killed its workers.
    """
    parameters = {
        "id": run_id,
        "tenant": tenant_id,
        "subject": subject_id,
        "kind": kind,
        "queue": queue,
        "stage": stage,
        "state": "pending" if dead is None else "failed",
        "unique_key": unique_key,
        "joinable": joinable and dead is None,
        "params": Jsonb(params),
        "request_id": request_id,
        "traceparent": current_traceparent(),
        "error": dead,
        "quarantined": quarantined,
        "delay": delay,
    }
    with conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(_ADD, parameters).fetchone()
