"""What a context or search request reads: one statement for all candidates, one for the texts of the chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from storage.episodes import UncompiledEpisode, uncompiled_episodes
from storage.history import Watermark
from storage.passage_cache import LARGE, Key, PassageCache
from storage.passage_columns import PassageColumns
from storage.passages import decode_blocks
from storage.transactions import Connection

#: Of a large subject only the versions of its blocks: a process that keeps large subjects may have them already.
_CANDIDATES = """
select s.episode_count - s.compiled_count, s.compiled_seq, s.last_seq, s.speakers, s.resolution_version > 0,
       s.created_at, s.passage_count, pg_current_snapshot()::text, is_large,
       coalesce(%(forced)s::text, s.embedding_model, %(model)s), b.block, b.xmin::text, v.xmin::text,
       case when not is_large then b.passages end, case when not is_large then b.terms end,
       case when not is_large then v.scales end, case when not is_large then v.vectors end
  from (select *, passage_count > %(large)s as is_large from subjects
         where tenant_id = %(tenant)s and subject_id = %(subject)s) s
  left join passage_blocks b on b.tenant_id = s.tenant_id and b.subject_id = s.subject_id
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block
   and v.model = coalesce(%(forced)s::text, s.embedding_model, %(model)s)
 order by b.block
"""

_BLOCKS = """
select b.block, b.passages, b.terms, v.scales, v.vectors
  from passage_blocks b
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block and v.model = %(model)s
 where b.tenant_id = %(tenant)s and b.subject_id = %(subject)s and b.block = any(%(blocks)s)
"""

#: Blocks that are read at once: 6 MB, so that a large subject is never in memory twice.
_BLOCKS_AT_ONCE = 64

#: `passage_count` that no subject exceeds: everything is read at once where nothing is kept.
_UNLIMITED = 2**31 - 1


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


def load_candidates(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    model: str,
    dimensions_of: Callable[[str], int],
    waiting_limit: int,
    cache: PassageCache | None = None,
    forced_model: str | None = None,
) -> Candidates | None:
    """The subject's passages in one statement; None for an unknown subject. Indexes: the primary keys.

    Which model's vectors are read is decided in the same statement, so that those of two are never mixed.
    Only when episodes wait for compilation are the newest `waiting_limit` of them read in a second statement, and
    of a large subject the blocks that the cache does not have.

    Args:
        model: for a subject that has had no vectors yet.
        dimensions_of: width of a model's vectors; 0 leaves them out.
        forced_model: in place of the model that the subject is read with, for comparisons.
    """
    parameters = {
        "tenant": tenant_id,
        "subject": subject_id,
        "model": model,
        "forced": forced_model,
        "large": _UNLIMITED if cache is None else LARGE,
    }
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(_CANDIDATES, parameters).fetchall()
    if not rows:
        return None
    uncompiled, compiled_seq, last_seq, speakers, has_resolutions = rows[0][:5]
    since, passages, snapshot, is_large, model = rows[0][5:10]
    dimensions = dimensions_of(model)
    rows = [row[10:] for row in rows if row[10] is not None]
    if cache is not None and is_large:
        versions = {block: (version, vectors) for block, version, vectors, *_ in rows}
        read = partial(_read_blocks, conn, (tenant_id, subject_id, model), dimensions)
        nothing = decode_blocks([], dimensions=dimensions)
        columns = cache.columns((tenant_id, subject_id, model), versions, read, nothing=nothing)
    else:
        columns = decode_blocks([row[3:] for row in rows], dimensions=dimensions)
    waiting = []
    if uncompiled:
        after = max(compiled_seq, last_seq - waiting_limit)
        waiting = uncompiled_episodes(conn, tenant_id, subject_id, after_seq=after, limit=waiting_limit)
    return Candidates(
        columns=columns,
        speakers=speakers,
        waiting=waiting,
        has_resolutions=has_resolutions,
        watermark=Watermark(
            subject_since=since,
            passages=passages,
            compiled_seq=compiled_seq,
            last_seq=last_seq,
            snapshot=snapshot,
        ),
        model=model,
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
