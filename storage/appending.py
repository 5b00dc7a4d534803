"""SQL of appending episodes: one call of a function that migration 0016 describes, within a transaction or as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg

from config.tracing import current_traceparent
from storage.lone_calls import call_alone
from storage.rows import Episode
from storage.transactions import Connection, Pool, text_array, uuid_array

_ARGUMENTS = (
    "%(tenant)s, %(now)s, %(rows)s::json, %(subjects)s::text[], %(counts)s::bigint[], %(runs)s::uuid[], %(due)s,"
    " %(queue)s, %(request_id)s, %(traceparent)s"
)

_APPEND = f"select tracked, has_webhooks, repeated::text from append_episodes({_ARGUMENTS})"

_APPEND_ALONE = f"select append_alone(%(revision)s, {_ARGUMENTS})::text"

_NOTHING = "[]"


class NewEpisodeRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An episode about to be appended, as the database reads it. `followers` of the same subject come behind it."""

    id: UUID
    subject_id: str
    followers: int
    source: str
    type: str
    payload: msgspec.Raw
    metadata: msgspec.Raw
    provenance: msgspec.Raw
    body: str
    occurred_at: datetime
    session_id: str | None = None
    idempotency_key: str | None = None
    signals: int
    event_at: datetime | None = None
    user_at: datetime | None = None
    agent_at: Sequence[datetime] = ()


class CompileRequest(msgspec.Struct, frozen=True, kw_only=True):
    """When and where the subjects that grow will be compiled; `run_ids` are as many as there are subjects."""

    run_ids: Sequence[UUID]
    due: datetime
    queue: str


class _KeyedEpisode(Episode, frozen=True, kw_only=True):
    idempotency_key: str


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an append.

    `repeated` are the stored episodes that stand for the rows of the same subject and idempotency key, which were not
    stored again. Of the subjects `tracked`, it is recorded how a session ended. `has_webhooks` says whether the tenant
    has webhook endpoints. Both are told here, where they cost nothing, because appending must not pay a statement to
    find out that there is nothing to do.
    """

    repeated: dict[tuple[str, str], Episode]
    tracked: frozenset[str] = frozenset()
    has_webhooks: bool = False


def append(
    conn: Connection,
    tenant_id: str,
    rows: Sequence[NewEpisodeRow],
    *,
    now: datetime,
    compile: CompileRequest | None,
    request_id: str | None,
) -> Appended:
    """Store the rows whose idempotency keys are new, with a compile run for each subject that grows.

    The subjects stay locked until the transaction ends, so sequence numbers follow commit order. The locks are taken
    in the order of the subject ids: appends that share subjects cannot deadlock.

    Args:
        rows: no two of them under one key of a subject.
        compile: None if nothing is to be compiled by itself.
    """
    found = conn.execute(_APPEND, _parameters(tenant_id, rows, now, compile, request_id)).fetchone()
    assert found is not None
    tracked, has_webhooks, repeated = found
    return Appended(repeated=_by_key(repeated), tracked=frozenset(tracked), has_webhooks=has_webhooks)


def append_alone(
    pool: Pool,
    tenant_id: str,
    rows: Sequence[NewEpisodeRow],
    *,
    now: datetime,
    compile: CompileRequest | None,
    request_id: str | None,
) -> Appended | None:
    """As `append`, as a transaction of its own in one round trip.

    Returns:
        None, and nothing was stored, when appending these rows takes more: somebody is to be told, a subject's health
        depends on it, or access must be looked at again.
    """
    parameters = _parameters(tenant_id, rows, now, compile, request_id)
    try:
        repeated = call_alone(pool, _APPEND_ALONE, parameters)
    except psycopg.errors.SerializationFailure:
        return None
    return None if repeated is None else Appended(repeated=_by_key(repeated))


def _parameters(
    tenant_id: str,
    rows: Sequence[NewEpisodeRow],
    now: datetime,
    compile: CompileRequest | None,
    request_id: str | None,
) -> dict[str, object]:
    counts = Counter([row.subject_id for row in rows])
    return {
        "tenant": tenant_id,
        "now": now,
        # PERF: one document is written and read in C; arrays by column took three times as long to make.
        "rows": _encode(rows).decode(),
        "subjects": text_array(counts),
        "counts": f"{{{','.join(map(str, counts.values()))}}}",
        "runs": uuid_array(compile.run_ids) if compile else None,
        "due": compile.due if compile else None,
        "queue": compile.queue if compile else None,
        "request_id": request_id,
        "traceparent": current_traceparent(),
    }


def _by_key(repeated: str) -> dict[tuple[str, str], Episode]:
    if repeated == _NOTHING:
        return {}
    # Without the key: what a repetition is answered with is what the first sending was answered with.
    names = Episode.__struct_fields__
    return {
        (row.subject_id, row.idempotency_key): Episode(**{name: getattr(row, name) for name in names})
        for row in _decode(repeated)
    }


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_KeyedEpisode]).decode
