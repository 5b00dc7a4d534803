"""What the chosen passages of a context were taken from: one message for all of it, the commit included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from storage.rows import Episode, Memory
from storage.transactions import Connection, last_read

_EPISODES = b"select * from context_episodes(%b, %b, %b)"
_MEMORIES = b"select * from context_memories(%b, %b, %b)"


class Sources(msgspec.Struct, frozen=True):
    """Memories and episodes by id, and the texts of the episodes, which passages point into."""

    memories: dict[UUID, Memory] = {}
    episodes: dict[UUID, Episode] = {}
    bodies: dict[UUID, str] = {}
    #: The ids of all of them by their 16 bytes. PERF: making a UUID takes ten times as long as looking for it.
    ids: dict[bytes, UUID] = {}


def last_sources(
    conn: Connection, tenant_id: str, subject_id: str, *, memories: Sequence[bytes], episodes: Sequence[bytes]
) -> Sources:
    """Read sources of one subject by the bytes of their ids, whatever their status, and end the transaction.

    Indexes: the primary keys.
    """
    asked = [(statement, ids) for statement, ids in ((_EPISODES, episodes), (_MEMORIES, memories)) if ids]
    if not asked:
        return Sources()
    values = [value for _, ids in asked for value in (tenant_id, subject_id, _array(ids))]
    answers = last_read(conn, b"; ".join([statement for statement, _ in asked]), values)
    of_episodes = answers.rows(0) if episodes else []
    of_memories = answers.rows(len(asked) - 1) if memories else []
    found = {row[0]: _memory(subject_id, row) for row in of_memories}
    bodies = {row[1]: row[0] for row in of_episodes}
    return Sources(
        memories=found,
        episodes={row[1]: _episode(subject_id, row) for row in of_episodes},
        bodies=bodies,
        ids={id.bytes: id for id in (*bodies, *found)},
    )


def _array(ids: Sequence[bytes]) -> str:
    return "{" + ",".join([id.hex() for id in ids]) + "}"


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
