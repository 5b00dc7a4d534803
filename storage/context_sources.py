"""What the chosen passages of a context were taken from: one message for all of it, the commit included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw
from psycopg import sql

from storage.rows import Episode, Memory
from storage.transactions import Connection, last_read, uuid_array

_EPISODES = sql.SQL("select * from context_episodes({tenant}, {subject}, {ids}::uuid[])")
_MEMORIES = sql.SQL("select * from context_memories({tenant}, {subject}, {ids}::uuid[])")
_NEXT = sql.SQL("; ")


class Sources(msgspec.Struct, frozen=True):
    """Memories and episodes by id, and the texts of the episodes, which passages point into."""

    memories: dict[UUID, Memory] = {}
    episodes: dict[UUID, Episode] = {}
    bodies: dict[UUID, str] = {}


def last_sources(
    conn: Connection, tenant_id: str, subject_id: str, *, memories: Sequence[UUID], episodes: Sequence[UUID]
) -> Sources:
    """Read sources of one subject by their ids, whatever their status, and end the transaction.

    Indexes: the primary keys.
    """
    asked = [(statement, ids) for statement, ids in ((_EPISODES, episodes), (_MEMORIES, memories)) if ids]
    if not asked:
        return Sources()
    statements = [
        statement.format(tenant=tenant_id, subject=subject_id, ids=uuid_array(ids)) for statement, ids in asked
    ]
    cursor = last_read(conn, _NEXT.join(statements))
    rows = cursor.fetchall() if episodes else []
    found = cursor.set_result(len(asked) - 1).fetchall() if memories else []
    return Sources(
        memories={row[0]: _memory(subject_id, row) for row in found},
        episodes={row[1]: _episode(subject_id, row) for row in rows},
        bodies={row[1]: row[0] for row in rows},
    )


# PERF: by name and not through a row factory, which makes a dictionary for each row.


def _episode(subject_id: str, row: tuple[Any, ...]) -> Episode:
    _, id, session_id, source, type, payload, metadata, provenance, occurred_at, created_at = row
    return Episode(
        id=id,
        subject_id=subject_id,
        session_id=session_id,
        source=source,
        type=type,
        payload=Raw(payload),
        metadata=Raw(metadata),
        provenance=Raw(provenance),
        occurred_at=occurred_at,
        created_at=created_at,
    )


def _memory(subject_id: str, row: tuple[Any, ...]) -> Memory:
    (
        id,
        kind,
        content,
        summary,
        confidence,
        valid_from,
        valid_to,
        sources,
        metadata,
        status,
        labels,
        created,
        updated,
    ) = row
    return Memory(
        id=id,
        subject_id=subject_id,
        kind=kind,
        content=content,
        summary=summary,
        confidence=confidence,
        valid_from=valid_from,
        valid_to=valid_to,
        source_episode_ids=sources,
        metadata=Raw(metadata),
        status=status,
        sensitivity_labels=labels,
        created_at=created,
        updated_at=updated,
    )
