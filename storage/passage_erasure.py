"""Taking the passages of erased sources out of their blocks.

Rows of a block are addressed by their number, so an erased passage is blanked instead of removed: a row without
source, words or vector that ended in 1970, which no reader delivers. Its time is that of another passage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from config.deferred import np
from storage.passage_columns import Kind
from storage.passages import record_type
from storage.transactions import Connection

if TYPE_CHECKING:
    from numpy.typing import NDArray


_BLOCKS = """
select block, passages, terms from passage_blocks
 where tenant_id = %s and subject_id = %s
   and exists (select 1 from unnest(%s::bytea[]) as id where position(id in passages) > 0)
 order by block
   for update
"""

_VECTORS = """
select model, scales, vectors from passage_vectors where tenant_id = %s and subject_id = %s and block = %s for update
"""


def erase_passages(conn: Connection, tenant_id: str, subject_id: str, sources: Sequence[UUID]) -> int:
    """Blank every passage of the sources, in blocks and vectors of all models. Call it with the subject locked.

    Returns:
        How many passages that were.
    """
    wanted = [source.bytes for source in sources]
    with conn.cursor(binary=True) as cursor:
        blocks = cursor.execute(_BLOCKS, (tenant_id, subject_id, wanted)).fetchall()
    erased = 0
    for block, passages, terms in blocks:
        records = np.frombuffer(passages, dtype=record_type()).copy()
        gone = np.isin(records["source_id"], np.frombuffer(b"".join(wanted), dtype="V16"))
        if not gone.any():
            continue  # The bytes stood across two fields.
        owned = np.repeat(gone, records["term_counts"])
        kept_terms = np.frombuffer(terms, dtype="<u4")[~owned]
        records[gone] = _blank(records[~gone])
        conn.execute(
            "update passage_blocks set passages = %b, terms = %b"
            " where tenant_id = %s and subject_id = %s and block = %s",
            (records.tobytes(), kept_terms.tobytes(), tenant_id, subject_id, block),
        )
        _erase_vectors(conn, tenant_id, subject_id, block, np.flatnonzero(gone))
        erased += int(gone.sum())
    return erased


def count_passages(conn: Connection, tenant_id: str, subject_id: str, sources: Sequence[UUID]) -> int:
    """How many passages of the subject were taken from one of the sources."""
    wanted = np.frombuffer(b"".join(source.bytes for source in sources), dtype="V16")
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "select passages from passage_blocks where tenant_id = %s and subject_id = %s", (tenant_id, subject_id)
        )
        return sum(int(np.isin(np.frombuffer(row[0], dtype=record_type())["source_id"], wanted).sum()) for row in rows)


def _blank(others: NDArray[np.void]) -> NDArray[np.void]:
    """A passage that is none, among the others of its block."""
    blank = np.zeros(1, dtype=record_type())
    blank["kind"] = Kind.OTHER
    # Readers look at the range of years; 1970 would be none of the subject's.
    blank["occurred_at"] = others["occurred_at"].min() if len(others) else 0
    return blank


def _erase_vectors(conn: Connection, tenant_id: str, subject_id: str, block: int, rows: NDArray[np.intp]) -> None:
    with conn.cursor(binary=True) as cursor:
        models = cursor.execute(_VECTORS, (tenant_id, subject_id, block)).fetchall()
    for model, scales, vectors in models:
        # Vectors may cover only the first rows of a block (`storage.passages.decode_blocks`).
        covered = len(scales) // 4
        width = len(vectors) // covered if covered else 0
        new_scales, new_vectors = bytearray(scales), bytearray(vectors)
        for row in rows:
            if row < covered:
                new_scales[4 * row : 4 * row + 4] = bytes(4)
                new_vectors[width * row : width * (row + 1)] = bytes(width)
        conn.execute(
            "update passage_vectors set scales = %b, vectors = %b"
            " where tenant_id = %s and subject_id = %s and model = %s and block = %s",
            (bytes(new_scales), bytes(new_vectors), tenant_id, subject_id, model, block),
        )
