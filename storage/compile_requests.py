"""SQL of asking for compilations: runs of `storage.runs`, one per subject that has not begun."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from config.tracing import current_traceparent
from storage.rows import Run
from storage.runs import COLUMNS
from storage.transactions import Connection, text_array, uuid_array

#: A request that finds one waiting pulls it forward.
_REQUEST = f"""
insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, unique_key, run_after, params, request_id,
                  traceparent)
values (%(id)s, %(tenant)s, %(subject)s, 'compile', %(queue)s, 'compile', 'pending', 'compile:' || %(subject)s, now(),
        '{{"explicit": true}}', %(request_id)s, %(traceparent)s)
on conflict (tenant_id, unique_key) where joinable and state = 'pending' do update
   set run_after = least(runs.run_after, excluded.run_after),
       params = excluded.params,
       request_id = excluded.request_id,
       traceparent = excluded.traceparent
returning {COLUMNS}, (xmax <> 0) as joined
"""


def schedule_compiles(
    conn: Connection,
    tenant_id: str,
    runs: dict[str, UUID],
    *,
    run_after: datetime | None,
    request_id: str | None,
    queue: str = "compile",
) -> None:
    """See to it that each subject has a compile run that has not begun; one that waits already is left as it is.

    Args:
        run_after: when a new one is due; None for now.
    """
    ids, subjects = uuid_array(runs.values()), text_array(runs)
    conn.execute(
        "select schedule_compiles(%s, %s::text[], %s::uuid[], %s, %s, %s, %s)",
        (tenant_id, subjects, ids, run_after, queue, request_id, current_traceparent()),
    )


def request_compile(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    run_id: UUID,
    request_id: str | None,
    queue: str = "compile",
) -> tuple[Run, bool]:
    """A compile run that is due now: a new one, or the waiting one pulled forward.

    Returns:
        The run, and whether it was there before.
    """
    parameters = {
        "id": run_id,
        "tenant": tenant_id,
        "subject": subject_id,
        "queue": queue,
        "request_id": request_id,
        "traceparent": current_traceparent(),
    }
    row = conn.execute(_REQUEST, parameters).fetchone()
    assert row is not None
    *values, joined = row
    names = COLUMNS.split(", ")
    return Run(**dict(zip(names, values, strict=True))), bool(joined)
