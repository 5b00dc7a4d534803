"""SQL of `passage_blocks` and `passage_vectors`: a subject's retrieval units, column by column.

A block holds up to 256 passages in arrival order; row N of a subject is passage N modulo 256 of block N div 256. The
vectors of a block are kept apart, per model, so that a change of model never touches the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias
from uuid import UUID

import numpy as np

from storage.passage_columns import NEVER, PassageColumns
from storage.transactions import Connection

#: Passages per block: one block is what an append rewrites, about 90 KB with 256-dimensional vectors.
BLOCK = 256

#: One passage in `passage_blocks.passages`; little-endian and packed, 55 bytes.
RECORD = np.dtype(
    [
        ("source_id", "V16"),
        ("kind", "<u1"),
        ("start", "<i4"),
        ("stop", "<i4"),
        ("session", "<u8"),
        ("occurred_at", "<i8"),
        ("valid_until", "<i8"),
        ("speaker", "<u4"),
        ("flags", "<u1"),
        ("tokens", "<u2"),
        ("term_counts", "<u2"),
    ]
)

COLUMNS = RECORD.names or ()

#: Passages, terms, scales, vectors; the last two may be absent.
StoredBlock: TypeAlias = tuple[bytes, bytes, bytes | None, bytes | None]

_LOAD = """
select b.passages, b.terms, v.scales, v.vectors
  from passage_blocks b
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block and v.model = %(model)s
 where b.tenant_id = %(tenant)s and b.subject_id = %(subject)s and b.block >= %(from_block)s
 order by b.block
"""

# What a new block is made of, or what joins the last one. All in one statement, and never by `executemany`, which works
# in pipeline mode: a process that stalls within a pipeline would keep its locks, as its silence counts as work.
_APPEND = """
insert into passage_blocks as b (tenant_id, subject_id, block, passages, terms)
select %s, %s, new.* from unnest(%b::integer[], %b::bytea[], %b::bytea[]) as new
on conflict (tenant_id, subject_id, block) do update
   set passages = b.passages || excluded.passages, terms = b.terms || excluded.terms
"""

_KEEP_END = """
insert into passage_ends (tenant_id, subject_id, source_id, valid_until, known_to)
select %s, %s, source, valid_until, coalesce(known_to, now())
  from unnest(%s::uuid[], %s::bigint[], %s::timestamptz[]) as former (source, valid_until, known_to)
"""


def load_passages(
    conn: Connection, tenant_id: str, subject_id: str, *, model: str, dimensions: int, from_block: int = 0
) -> PassageColumns:
    """All passages of a subject from a block on, in arrival order; those without vectors of `model` get zeros.

    One statement; index: the primary keys of both tables.
    """
    parameters = {"tenant": tenant_id, "subject": subject_id, "model": model, "from_block": from_block}
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(_LOAD, parameters).fetchall()
    return decode_blocks(rows, dimensions=dimensions)


def decode_blocks(rows: Sequence[StoredBlock], *, dimensions: int) -> PassageColumns:
    """Columns from the rows of the two tables, in block order."""
    records = np.frombuffer(b"".join([row[0] for row in rows]), dtype=RECORD)
    scales, vectors = [], []
    for passages, _, scale, vector in rows:
        count = len(passages) // RECORD.itemsize
        if not scale or not vector or len(vector) * 4 != len(scale) * dimensions:
            scale = vector = b""
        # A model that came or went while passages were added knows only the first of the block.
        scales.append(scale.ljust(4 * count, b"\0"))
        vectors.append(vector.ljust(dimensions * count, b"\0"))
    return PassageColumns(
        terms=np.frombuffer(b"".join([row[1] for row in rows]), dtype="<u4"),
        scale=np.frombuffer(b"".join(scales), dtype="<f4"),
        vectors=np.frombuffer(b"".join(vectors), dtype="i1").reshape(len(records), dimensions),
        **{name: np.ascontiguousarray(records[name]) for name in COLUMNS},
    )


def encode_block(columns: PassageColumns) -> tuple[bytes, bytes, bytes, bytes]:
    """Passages, terms, scales and vectors as they are stored; `decode_blocks` is the inverse."""
    records = np.empty(len(columns), dtype=RECORD)
    for name in COLUMNS:
        records[name] = getattr(columns, name)
    return (
        records.tobytes(),
        columns.terms.astype("<u4").tobytes(),
        columns.scale.astype("<f4").tobytes(),
        columns.vectors.tobytes(),
    )


def append_passages(conn: Connection, tenant_id: str, subject_id: str, new: PassageColumns, *, stored: int) -> None:
    """Add passages after the `stored` ones the subject has; its last block is completed first.

    Their vectors are added by `storage.passage_vectors`. Call it with the subject locked or its run held, so that
    `stored` is still true.
    """
    if len(new) == 0:
        return
    records, terms, _, _ = encode_block(new)
    ends = np.concatenate([[0], np.cumsum(new.term_counts, dtype=np.int64)])
    head = min(BLOCK - stored % BLOCK, len(new))
    bounds = [0, *range(head, len(new), BLOCK), len(new)]
    numbers = [stored // BLOCK + number for number in range(len(bounds) - 1)]
    parts = [records[start * RECORD.itemsize : stop * RECORD.itemsize] for start, stop in pairwise(bounds)]
    their_terms = [terms[4 * ends[start] : 4 * ends[stop]] for start, stop in pairwise(bounds)]
    conn.execute(_APPEND, (tenant_id, subject_id, numbers, parts, their_terms))


def end_passages(conn: Connection, tenant_id: str, subject_id: str, sources: Mapping[UUID, datetime | None]) -> None:
    """Take the passages of superseded or tombstoned memories out of retrieval from a time on; None puts them back.

    What they said before goes into `passage_ends`, which contexts of the past are made from (`storage.history`).
    Blocks that hold none of the sources are neither sent nor written.
    """
    if not sources:
        return
    ends = {source.bytes: NEVER if end is None else int(end.timestamp() * 1_000_000) for source, end in sources.items()}
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "select block, passages from passage_blocks where tenant_id = %s and subject_id = %s"
            " and exists (select 1 from unnest(%s::bytea[]) as id where position(id in passages) > 0) for update",
            (tenant_id, subject_id, list(ends)),
        ).fetchall()
    former: list[tuple[UUID, int, datetime | None]] = []
    for block, passages in rows:
        records = np.frombuffer(passages, dtype=RECORD).copy()
        for source, end in ends.items():
            own = records["source_id"] == np.void(source)
            if own.any():
                id = UUID(bytes=source)
                former.append((id, int(records["valid_until"][own][0]), sources[id]))
            records["valid_until"][own] = end
        conn.execute(
            "update passage_blocks set passages = %b where tenant_id = %s and subject_id = %s and block = %s",
            (records.tobytes(), tenant_id, subject_id, block),
        )
    if former:
        conn.execute(_KEEP_END, (tenant_id, subject_id, *(list(column) for column in zip(*former, strict=True))))


def sample_subjects(conn: Connection, seed: str, *, limit: int) -> list[tuple[str, str]]:
    """(tenant, subject) of some subjects with passages; the same ones for the same seed. Reads all of `subjects`."""
    rows = conn.execute(
        "select tenant_id, subject_id from subjects where passage_count > 0"
        " order by md5(%s || tenant_id || '/' || subject_id) limit %s",
        (seed, limit),
    ).fetchall()
    return [(tenant, subject) for tenant, subject in rows]
