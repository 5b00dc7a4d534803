"""SQL of `health_states`, and of the runs that work a subject's health out again.

The row is written by compare-and-set on `version`, in the transaction that tells subscribers of a change: of two
workers that saw the same state one writes and tells, the other does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from config.ids import uuid7
from config.tracing import current_traceparent
from storage.transactions import Connection

#: Kind and stage of the runs; `actors.health` does them.
KIND = "health"
STAGE = "evaluate"
QUEUE = "maintenance"

#: Time after a change until health is worked out again: changes that come together cost one run.
QUIET = timedelta(seconds=2)

_SCHEDULE = """
insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, unique_key, run_after, request_id, traceparent)
select r.id, r.tenant_id, r.subject_id, %(kind)s, %(queue)s, %(stage)s, 'pending', %(kind)s || ':' || r.subject_id,
       %(run_after)s, %(request_id)s, %(traceparent)s
  from unnest(%(ids)s::uuid[], %(tenants)s::text[], %(subjects)s::text[]) as r (id, tenant_id, subject_id)
on conflict (tenant_id, unique_key) where joinable and state = 'pending' do nothing
"""

#: The subject's lock keeps an erasure from happening in between and leaving the row behind. It does not hold up
#: appends, which change no key of the subject.
_CREATE = """
insert into health_states (tenant_id, subject_id, score, alert_state, evaluated_at, next_check_at)
select s.tenant_id, s.subject_id, %(score)s, %(alert_state)s, %(now)s, %(next_check_at)s
  from subjects s
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s
   for key share
on conflict (tenant_id, subject_id) do nothing
"""

_CHANGE = """
update health_states
   set score = %(score)s, alert_state = %(alert_state)s, evaluated_at = %(now)s, next_check_at = %(next_check_at)s,
       version = version + 1
 where tenant_id = %(tenant)s and subject_id = %(subject)s and version = %(seen)s
"""


_DUE = """
select tenant_id, subject_id from health_states h
 where next_check_at <= %(now)s
   and not exists (select 1 from runs r
                    where r.tenant_id = h.tenant_id and r.unique_key = %(kind)s || ':' || h.subject_id
                      and r.joinable and r.state = 'pending')
 order by next_check_at
 limit %(limit)s
"""


class HealthState(msgspec.Struct, frozen=True, kw_only=True):
    """The last health that was worked out of a subject. `alert_state` is what subscribers were told."""

    score: int
    alert_state: str
    version: int
    next_check_at: datetime | None


def write(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    seen: HealthState | None,
    score: int,
    alert_state: str,
    next_check_at: datetime | None,
    now: datetime,
) -> bool:
    """Replace the state that was seen. False when somebody else replaced it before, or the subject is gone."""
    cursor = conn.execute(
        _CREATE if seen is None else _CHANGE,
        {
            "tenant": tenant_id,
            "subject": subject_id,
            "score": score,
            "alert_state": alert_state,
            "next_check_at": next_check_at,
            "now": now,
            "seen": seen.version if seen else None,
        },
    )
    return cursor.rowcount == 1


def schedule(
    conn: Connection,
    tenant_id: str,
    subject_ids: Sequence[str],
    *,
    run_after: datetime,
    request_id: str | None = None,
) -> None:
    """See to it that the health of each subject is worked out; a run that waits already is left as it is."""
    _schedule(conn, [(tenant_id, subject_id) for subject_id in subject_ids], run_after, request_id)


def schedule_due(conn: Connection, *, now: datetime, limit: int) -> int:
    """Schedule subjects whose health time alone may have changed, of all tenants.

    Indexes: health_states_due, runs_joinable.

    Returns:
        How many were due and not scheduled yet. One stays due until its health has been worked out, so a lost run is
        made up for.
    """
    due = conn.execute(_DUE, {"now": now, "kind": KIND, "limit": limit}).fetchall()
    if due:
        _schedule(conn, due, now)
    return len(due)


def _schedule(
    conn: Connection, subjects: Sequence[tuple[str, str]], run_after: datetime, request_id: str | None = None
) -> None:
    ids: list[UUID] = [uuid7() for _ in subjects]
    conn.execute(
        _SCHEDULE,
        {
            "ids": ids,
            "tenants": [tenant_id for tenant_id, _ in subjects],
            "subjects": [subject_id for _, subject_id in subjects],
            "kind": KIND,
            "queue": QUEUE,
            "stage": STAGE,
            "run_after": run_after,
            "request_id": request_id,
            "traceparent": current_traceparent(),
        },
    )
