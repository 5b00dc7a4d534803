"""Appending episodes: the episode and the work it causes are committed together, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

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
from storage import appending, health_states
from storage.appending import Appended, CompileRequest, NewEpisodeRow
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
    rows, place_of = _rows(incoming, now)
    appended = _append_alone(services, tenant_id, rows, now, request_id)
    if appended is None:
        appended = _append_and_tell(services, tenant_id, rows, now, request_id, batch=batch)
    services.usage.count(tenant_id, "episodes", len(rows) - len(appended.repeated), now=now)
    keys = [(row.subject_id, row.idempotency_key or "") for row in rows]
    sent = {key: _episode(row, now) for key, row in zip(keys, rows, strict=True) if key in appended.repeated}
    shown = shown_repetitions(services, tenant_id, caller, appended.repeated, sent)
    stored = [shown.get(key) or _episode(row, now) for key, row in zip(keys, rows, strict=True)]
    return [stored[place] for place in place_of]


def _rows(incoming: Sequence[NewEpisode], now: datetime) -> tuple[list[NewEpisodeRow], list[int]]:
    """One row per episode, those repeated among themselves once; and the place of each episode's row."""
    first_of_key: dict[tuple[str, str], int] = {}
    fresh: list[NewEpisode] = []
    place_of = []
    for episode in incoming:
        place = len(fresh)
        if episode.idempotency_key:
            place = first_of_key.setdefault((episode.subject_id, episode.idempotency_key), place)
        place_of.append(place)
        if place == len(fresh):
            fresh.append(episode)
    left = Counter([episode.subject_id for episode in fresh])
    rows = []
    for episode in fresh:
        left[episode.subject_id] -= 1
        rows.append(_row(episode, now, followers=left[episode.subject_id]))
    return rows, place_of


def _append_alone(
    services: Services, tenant_id: str, rows: Sequence[NewEpisodeRow], now: datetime, request_id: str | None
) -> Appended | None:
    """Append in one round trip, if nothing else is to be written with it. PERF: a transaction of three costs twice."""
    if services.settings.webhook_url:
        return None
    compile = _compile_request(services, rows, now)
    return appending.append_alone(services.pool, tenant_id, rows, now=now, compile=compile, request_id=request_id)


def _append_and_tell(
    services: Services,
    tenant_id: str,
    rows: Sequence[NewEpisodeRow],
    now: datetime,
    request_id: str | None,
    *,
    batch: bool,
) -> Appended:
    compile = _compile_request(services, rows, now)
    with tenant_transaction(services.pool, tenant_id) as conn:
        appended = appending.append(conn, tenant_id, rows, now=now, compile=compile, request_id=request_id)
        new = [row for row in rows if (row.subject_id, row.idempotency_key or "") not in appended.repeated]
        # An unhealthy subject has at least one resolution (docs/support.md), so bulk imports of others cause no work.
        tracked = {row.subject_id for row in new} & appended.tracked
        if tracked:
            health_states.schedule(
                conn, tenant_id, sorted(tracked), run_after=now + health_states.QUIET, request_id=request_id
            )
        if new and (appended.has_webhooks or services.settings.webhook_url):
            _tell(services, conn, tenant_id, new, request_id, batch=batch)
    return appended


def _compile_request(services: Services, rows: Sequence[NewEpisodeRow], now: datetime) -> CompileRequest | None:
    quiet = services.settings.auto_compile_after_seconds
    if quiet is None:
        return None
    return CompileRequest(
        run_ids=[uuid7() for _ in {row.subject_id for row in rows}],
        due=now + timedelta(seconds=quiet),
        queue=queue_of(services.settings),
    )


def _row(episode: NewEpisode, now: datetime, *, followers: int) -> NewEpisodeRow:
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
        followers=followers,
        session_id=episode.session_id,
        source=episode.source,
        type=episode.type,
        payload=msgspec.Raw(_json.encode(episode.payload)),
        metadata=msgspec.Raw(_json.encode(episode.metadata)),
        provenance=msgspec.Raw(_json.encode(episode.provenance)),
        body=body,
        idempotency_key=episode.idempotency_key,
        occurred_at=occurred_at,
        signals=signals.flags,
        event_at=None if signals.event_at == occurred_at else signals.event_at,
        user_at=None if signals.user_at == signals.event_at else signals.user_at,
        agent_at=() if signals.agent_at == [signals.event_at] else signals.agent_at,
    )


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


def _episode(row: NewEpisodeRow, now: datetime) -> Episode:
    return Episode(
        id=row.id,
        subject_id=row.subject_id,
        session_id=row.session_id,
        source=row.source,
        type=row.type,
        payload=row.payload,
        metadata=row.metadata,
        provenance=row.provenance,
        occurred_at=row.occurred_at,
        created_at=now,
    )
