"""Fill a database with whole subjects by COPY: subjects, episodes, memories and their passages."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import psycopg

from bench.scale_material import FIRST_DAY, Material, uuids
from pipelines.passages import session_hash
from storage.passage_columns import PassageColumns, concatenate, take
from storage.passages import BLOCK, encode_block

#: Episodes of one session.
EPISODES_PER_SESSION = 5

#: Subjects that one COPY of each table carries.
SUBJECTS_AT_ONCE = 500
#: A subject larger than this is copied in parts, so that memory stays small.
EPISODES_AT_ONCE = 20_000

_COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "subjects": (
        *(("tenant_id", "text"), ("subject_id", "text"), ("episode_count", "int8"), ("memory_count", "int8")),
        *(("last_seq", "int8"), ("compiled_seq", "int8"), ("compiled_count", "int8"), ("passage_count", "int4")),
        ("last_episode_at", "timestamptz"),
    ),
    "episodes": (
        *(("id", "uuid"), ("tenant_id", "text"), ("subject_id", "text"), ("seq", "int8"), ("session_id", "text")),
        *(("source", "text"), ("type", "text"), ("payload", "json"), ("metadata", "json"), ("provenance", "json")),
        *(("body", "text"), ("occurred_at", "timestamptz"), ("created_at", "timestamptz"), ("signals", "int2")),
    ),
    "memories": (
        *(("id", "uuid"), ("tenant_id", "text"), ("subject_id", "text"), ("kind", "text"), ("content", "text")),
        *(
            ("summary", "text"),
            ("confidence", "float8"),
            ("valid_from", "timestamptz"),
            ("source_episode_ids", "uuid[]"),
        ),
        *(("metadata", "json"), ("status", "text"), ("claim_key", "text"), ("claim_value", "text")),
        *(
            ("content_hash", "bytea"),
            ("search", "tsvector"),
            ("created_at", "timestamptz"),
            ("updated_at", "timestamptz"),
        ),
    ),
    "passage_blocks": (
        *(("tenant_id", "text"), ("subject_id", "text"), ("block", "int4"), ("passages", "bytea"), ("terms", "bytea")),
    ),
    "passage_vectors": (
        *(("tenant_id", "text"), ("subject_id", "text"), ("model", "text"), ("block", "int4"), ("scales", "bytea")),
        ("vectors", "bytea"),
    ),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A subject to be made, and how many memories it should have at least."""

    subject_id: str
    memories: int


class Seeder:
    """Writes subjects over one connection of the database's owner. The same seed gives the same texts."""

    def __init__(self, conn: psycopg.Connection[Any], material: Material, *, seed: int = 5) -> None:
        self._conn = conn
        self._material = material
        self._random = random.Random(seed)
        self._bytes = np.random.default_rng(seed)
        self._searches = self._search_vectors()
        #: Which of the material's episodes each subject was made of, for asking about them.
        self.told: dict[str, list[int]] = {}

    def add(self, planned: Sequence[Planned]) -> Iterator[int]:
        """Make the subjects; yields the memories stored after each portion, for a progress bar."""
        for start in range(0, len(planned), SUBJECTS_AT_ONCE):
            rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _COLUMNS}
            for subject in planned[start : start + SUBJECTS_AT_ONCE]:
                self._make(subject, rows)
                if len(rows["episodes"]) > EPISODES_AT_ONCE:
                    yield self._copy(rows)
                    rows = {name: [] for name in _COLUMNS}
            yield self._copy(rows)

    def _make(self, planned: Planned, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        chosen = self._choose(planned.memories)
        self.told[planned.subject_id] = chosen
        ids = uuids(len(chosen), self._bytes, FIRST_DAY)
        parts: list[PassageColumns] = []
        memories = 0
        for place, (number, episode_id) in enumerate(zip(chosen, ids, strict=True)):
            at = FIRST_DAY + timedelta(minutes=47 * place)
            session_id = f"{planned.subject_id}-{place // EPISODES_PER_SESSION}"
            rows["episodes"].append(
                self._episode_row(planned.subject_id, number, place + 1, episode_id, session_id, at)
            )
            parts.append(self._turns(number, episode_id, session_id, at))
            made, memory_rows = self._memories(planned.subject_id, number, episode_id, at)
            rows["memories"] += memory_rows
            parts.append(made)
            memories += len(memory_rows)
        columns = concatenate(parts)
        for block, first in enumerate(range(0, len(columns), BLOCK)):
            encoded = encode_block(take(columns, np.arange(first, min(first + BLOCK, len(columns)))))
            rows["passage_blocks"].append(("", planned.subject_id, block, *encoded[:2]))
            rows["passage_vectors"].append(("", planned.subject_id, self._material.model, block, *encoded[2:]))
        count = len(chosen)
        last = FIRST_DAY + timedelta(minutes=47 * count)
        rows["subjects"].append(("", planned.subject_id, count, memories, count, count, count, len(columns), last))

    def _choose(self, memories: int) -> list[int]:
        chosen: list[int] = []
        while memories > 0:
            number = self._random.randrange(len(self._material))
            chosen.append(number)
            memories -= len(self._material.memories[number])
        return chosen

    def _episode_row(
        self, subject_id: str, number: int, seq: int, episode_id: UUID, session_id: str, at: datetime
    ) -> tuple[Any, ...]:
        payload, body = self._material.payloads[number].decode(), self._material.bodies[number]
        # What the server reads from these payloads: the customer and the other side both speak.
        return (
            episode_id,
            "",
            subject_id,
            seq,
            session_id,
            "bench",
            "conversation",
            payload,
            "{}",
            "{}",
            body,
            at,
            at,
            3,
        )

    def _turns(self, number: int, episode_id: UUID, session_id: str, at: datetime) -> PassageColumns:
        turns = take(self._material.columns, self._material.turn_rows[number])
        return _of_source(turns, [episode_id] * len(turns), at, session_hash(session_id))

    def _memories(
        self, subject_id: str, number: int, episode_id: UUID, at: datetime
    ) -> tuple[PassageColumns, list[tuple[Any, ...]]]:
        drafts = self._material.memories[number]
        ids = uuids(len(drafts), self._bytes, at)
        rows = [
            (
                *(id, "", subject_id, draft.kind, draft.content, draft.summary, draft.confidence, at, [episode_id]),
                *(msgspec.json.encode(draft.metadata).decode(), "active", draft.claim_key, draft.claim_value),
                *(draft.content_hash, search, at, at),
            )
            for id, draft, search in zip(ids, drafts, self._searches[number], strict=True)
        ]
        return _of_source(take(self._material.columns, self._material.memory_rows[number]), ids, at, 0), rows

    def _copy(self, rows: dict[str, list[tuple[Any, ...]]]) -> int:
        with self._conn.transaction(), self._conn.cursor() as cursor:
            for table, columns in _COLUMNS.items():
                names = ", ".join(name for name, _ in columns)
                # tsvector has no binary form that the driver writes, so this table goes as text.
                form = "text" if table == "memories" else "binary"
                with cursor.copy(f"copy {table} ({names}) from stdin (format {form})") as copy:
                    if form == "binary":
                        copy.set_types([kind for _, kind in columns])
                    for row in rows[table]:
                        copy.write_row(row)
        return len(rows["memories"])

    def _search_vectors(self) -> list[list[str]]:
        contents = [draft.content for drafts in self._material.memories for draft in drafts]
        made = self._conn.execute(
            "select to_tsvector('english', content)::text from unnest(%s::text[]) with ordinality as t (content, place)"
            " order by place",
            (contents,),
        ).fetchall()
        remaining = iter([row[0] for row in made])
        return [[next(remaining) for _ in drafts] for drafts in self._material.memories]


def _of_source(columns: PassageColumns, sources: Sequence[UUID], at: datetime, session: int) -> PassageColumns:
    count = len(columns)
    return replace(
        columns,
        source_id=np.frombuffer(b"".join(source.bytes for source in sources), dtype="V16"),
        session=np.full(count, session, dtype=np.uint64),
        occurred_at=np.full(count, int(at.timestamp() * 1_000_000), dtype=np.int64),
    )
