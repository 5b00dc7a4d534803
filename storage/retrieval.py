"""What a context or search request reads of a subject: its state in one row, and the passages that are not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from storage.episodes import UncompiledEpisode, uncompiled_episodes
from storage.history import Watermark
from storage.passage_cache import Key, PassageCache, refreshed
from storage.passage_columns import PassageColumns
from storage.passages import decode_blocks
from storage.transactions import Connection

_STATE_COLUMNS = (
    "since, uncompiled, compiled_seq, last_seq, speakers, has_resolutions, passages, snapshot, model,"
    " coalesce(versions, '') as versions"
)

_STATE = f"select {_STATE_COLUMNS} from context_state(%(tenant)s, %(subject)s, %(model)s, %(forced)s)"

#: A `SubjectState`, to be sent with the beginning of a transaction. Its values: tenant, subject, and the model for a
#: subject that has had no vectors yet.
STATE_FIRST = f"select {_STATE_COLUMNS} from context_state(%b, %b, %b, null)".encode()

_BLOCKS = """
select b.block, b.passages, b.terms, v.scales, v.vectors
  from passage_blocks b
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block and v.model = %(model)s
 where b.tenant_id = %(tenant)s and b.subject_id = %(subject)s and b.block = any(%(blocks)s)
"""

#: Blocks that are read at once: 6 MB, so that a large subject is never in memory twice.
_BLOCKS_AT_ONCE = 64


class SubjectState(NamedTuple):
    """What is known of a subject before its passages are read; `since` is None where nothing is stored of it."""

    since: datetime | None
    uncompiled: int
    compiled_seq: int
    last_seq: int
    speakers: list[str]
    has_resolutions: bool
    passages: int
    #: The transactions whose writes are seen (`pg_snapshot`).
    snapshot: str
    #: Whose vectors the subject is read with.
    model: str
    #: Of each block its number, and the transactions that wrote its row and that of its vectors: `0:731:731 1:742`.
    versions: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything retrievable of one subject: compiled passages, and the newest episodes that still wait."""

    columns: PassageColumns
    speakers: list[str]
    waiting: list[UncompiledEpisode]
    has_resolutions: bool
    watermark: Watermark
    #: What the vectors of the columns were made by.
    model: str


def read_state(
    conn: Connection, tenant_id: str, subject_id: str, *, model: str, forced_model: str | None = None
) -> SubjectState:
    """The subject's state, in one statement. Indexes: the primary keys.

    Args:
        model: for a subject that has had no vectors yet.
        forced_model: in place of the model that the subject is read with, for comparisons.
    """
    parameters = {"tenant": tenant_id, "subject": subject_id, "model": model, "forced": forced_model}
    row = conn.execute(_STATE, parameters).fetchone()
    assert row is not None, "the function returns a row for every subject"
    return SubjectState(*row)


def load_candidates(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    state: SubjectState,
    *,
    dimensions_of: Callable[[str], int],
    waiting_limit: int,
    cache: PassageCache | None = None,
) -> Candidates | None:
    """The subject's passages; None for an unknown subject.

    Blocks are read in a statement of their own, those which the cache has in their present version are not. Which
    model's vectors are read was decided with the versions, so that those of two are never mixed. Only when episodes
    wait for compilation, the newest `waiting_limit` of them are read in a further one.

    Args:
        state: as this transaction sees it.
        dimensions_of: width of a model's vectors; 0 leaves them out.
    """
    if state.since is None:
        return None
    key = (tenant_id, subject_id, state.model)
    dimensions = dimensions_of(state.model)
    read = partial(_read_blocks, conn, key, dimensions)
    nothing = partial(decode_blocks, [], dimensions=dimensions)
    if cache is not None:
        columns = cache.columns(key, state.versions, read, nothing=nothing)
    else:
        columns = refreshed(None, state.versions, read, nothing).columns
    waiting = []
    if state.uncompiled:
        after = max(state.compiled_seq, state.last_seq - waiting_limit)
        waiting = uncompiled_episodes(conn, tenant_id, subject_id, after_seq=after, limit=waiting_limit)
    return Candidates(
        columns=columns,
        speakers=state.speakers,
        waiting=waiting,
        has_resolutions=state.has_resolutions,
        watermark=Watermark(
            subject_since=state.since,
            passages=state.passages,
            compiled_seq=state.compiled_seq,
            last_seq=state.last_seq,
            snapshot=state.snapshot,
        ),
        model=state.model,
    )


def _read_blocks(conn: Connection, key: Key, dimensions: int, blocks: Sequence[int]) -> dict[int, PassageColumns]:
    tenant_id, subject_id, model = key
    decoded: dict[int, PassageColumns] = {}
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        wanted: dict[str, Any] = {
            "tenant": tenant_id,
            "subject": subject_id,
            "model": model,
            "blocks": list(blocks[start : start + _BLOCKS_AT_ONCE]),
        }
        with conn.cursor(binary=True) as cursor:
            rows = cursor.execute(_BLOCKS, wanted).fetchall()
        decoded |= {row[0]: decode_blocks([row[1:]], dimensions=dimensions) for row in rows}
    return decoded
