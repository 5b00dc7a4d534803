"""Appending episodes: the episode and the work it causes are committed together, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.ids import uuid7
from pipelines import webhook_events
from pipelines.compile_runs import queue_of
from pipelines.episode_text import episode_text
from pipelines.policy.evaluation import ANONYMOUS, Caller
from pipelines.repetitions import shown_repetitions
from pipelines.services import Services
from pipelines.support.episode_signals import episode_signals
from storage import episodes as episode_rows
from storage import health_states, runs, subjects
from storage.episodes import NewEpisodeRow
from storage.rows import Episode
from storage.transactions import Connection, tenant_transaction

_json = msgspec.json.Encoder()


class NewEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be stored, already checked against the contract's limits."""

    subject_id: str
    source: str
    type: str
    payload: dict[str, Any]
    metadata: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    session_id: str | None = None
    idempotency_key: str | None = None
    occurred_at: datetime | None = None


def append_episodes(
    services: Services,
    tenant_id: str,
    incoming: Sequence[NewEpisode],
    *,
    request_id: str | None,
    batch: bool = False,
    caller: Caller = ANONYMOUS,
) -> list[Episode]:
    """Store the episodes and see to it that their subjects will be compiled; all of them, or none.

    An episode whose idempotency key the subject has already is not stored again: the stored one takes its place in
    the answer (as far as the policy lets the caller see it, `pipelines.repetitions`), also within one batch and under
    concurrent repetition. Webhooks tell of new episodes only.

    Args:
        batch: whether webhooks tell of the episodes together; otherwise of each.

    Returns:
        The stored episodes, in the order of `incoming`.
    """
    now = utcnow()
    rows = [_row(episode, now) for episode in incoming]
    first_of_key = {(row.subject_id, row.idempotency_key): row for row in reversed(rows) if row.idempotency_key}
    fresh = [
        row for row in rows if row.idempotency_key is None or first_of_key[row.subject_id, row.idempotency_key] is row
    ]
    with tenant_transaction(services.pool, tenant_id) as conn:
        inserted, reserved = _insert(conn, tenant_id, fresh, now)
        repeated = [row for row in fresh if row.id not in inserted]
        _schedule(services, conn, tenant_id, inserted.values(), now, request_id)
        # An unhealthy subject has at least one resolution (docs/support.md), so bulk imports of others cause no work.
        tracked = {row.subject_id for row in inserted.values()} & reserved.with_resolutions
        if tracked:
            health_states.schedule(
                conn, tenant_id, sorted(tracked), run_after=now + health_states.QUIET, request_id=request_id
            )
        if inserted and (reserved.has_webhooks or services.settings.webhook_url):
            _tell(services, conn, tenant_id, list(inserted.values()), request_id, batch=batch)
        stored = _stored_under_same_key(conn, tenant_id, repeated)
    services.usage.count(tenant_id, "episodes", len(inserted), now=now)
    sent = {key: _episode(first_of_key[key], now) for key in stored}
    answers = shown_repetitions(services, tenant_id, caller, stored, sent)
    result = []
    for row in rows:
        key = (row.subject_id, row.idempotency_key) if row.idempotency_key else None
        if key is None:
            result.append(_episode(row, now))
            continue
        if key not in answers:
            answers[key] = _episode(first_of_key[key], now)
        result.append(answers[key])
    return result


def _row(episode: NewEpisode, now: datetime) -> NewEpisodeRow:
    body = episode_text(episode.payload)
    occurred_at = episode.occurred_at or now
    signals = episode_signals(
        episode.payload,
        body,
        source=episode.source,
        metadata=episode.metadata,
        occurred_at=episode.occurred_at,
        now=now,
    )
    return NewEpisodeRow(
        id=uuid7(),
        subject_id=episode.subject_id,
        session_id=episode.session_id,
        source=episode.source,
        type=episode.type,
        payload=_json.encode(episode.payload),
        metadata=_json.encode(episode.metadata),
        provenance=_json.encode(episode.provenance),
        body=body,
        idempotency_key=episode.idempotency_key,
        occurred_at=occurred_at,
        signals=signals.flags,
        event_at=None if signals.event_at == occurred_at else signals.event_at,
        user_at=None if signals.user_at == signals.event_at else signals.user_at,
        agent_at=() if signals.agent_at == [signals.event_at] else signals.agent_at,
    )


def _insert(
    conn: Connection, tenant_id: str, rows: Sequence[NewEpisodeRow], now: datetime
) -> tuple[dict[UUID, NewEpisodeRow], subjects.Reservation]:
    """Give every row its place in its subject and insert those that are new.

    Returns:
        What was inserted, by id, and what was found out about the subjects and their tenant on the way.
    """
    counts = Counter(row.subject_id for row in rows)
    reserved = subjects.reserve_sequences(conn, tenant_id, counts)
    following = {subject: reserved.last[subject] - count for subject, count in counts.items()}
    sequences = []
    for row in rows:
        following[row.subject_id] += 1
        sequences.append(following[row.subject_id])
    ids = episode_rows.insert_episodes(conn, tenant_id, rows, sequences, now=now)
    duplicates = Counter(row.subject_id for row in rows if row.id not in ids)
    if duplicates:
        subjects.release_episodes(conn, tenant_id, duplicates)
    return {row.id: row for row in rows if row.id in ids}, reserved


def _tell(
    services: Services,
    conn: Connection,
    tenant_id: str,
    inserted: Sequence[NewEpisodeRow],
    request_id: str | None,
    *,
    batch: bool,
) -> None:
    settings = services.settings
    if batch:
        names = [row.subject_id for row in inserted]
        webhook_events.batch_created(conn, settings, tenant_id, names, count=len(inserted), request_id=request_id)
        return
    for row in inserted:
        webhook_events.episode_created(
            conn, settings, tenant_id, row.subject_id, episode_id=row.id, request_id=request_id
        )


def _schedule(
    services: Services,
    conn: Connection,
    tenant_id: str,
    inserted: Any,
    now: datetime,
    request_id: str | None,
) -> None:
    quiet = services.settings.auto_compile_after_seconds
    compile_runs = {subject_id: uuid7() for subject_id in dict.fromkeys(row.subject_id for row in inserted)}
    if quiet is not None and compile_runs:
        runs.schedule_compiles(
            conn,
            tenant_id,
            compile_runs,
            run_after=now + timedelta(seconds=quiet),
            request_id=request_id,
            queue=queue_of(services.settings),
        )


def _stored_under_same_key(
    conn: Connection, tenant_id: str, repeated: Sequence[NewEpisodeRow]
) -> dict[tuple[str, str], Episode]:
    keys = [(row.subject_id, row.idempotency_key) for row in repeated if row.idempotency_key]
    return episode_rows.episodes_by_keys(conn, tenant_id, keys) if keys else {}


def _episode(row: NewEpisodeRow, now: datetime) -> Episode:
    return Episode(
        id=row.id,
        subject_id=row.subject_id,
        session_id=row.session_id,
        source=row.source,
        type=row.type,
        payload=msgspec.Raw(row.payload),
        metadata=msgspec.Raw(row.metadata),
        provenance=msgspec.Raw(row.provenance),
        occurred_at=row.occurred_at,
        created_at=now,
    )
