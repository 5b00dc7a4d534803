"""SQL of `passage_vectors`: the embeddings of a subject's blocks, per model, side by side.

The rows of a block that have vectors of a model are always its first ones: `octet_length(scales) / 4` says how many.
So what a model lacks can be found without reading any vectors, and filled in while the subject grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.passages import BLOCK, RECORD
from storage.transactions import Connection

_SAVE = """
insert into passage_vectors (tenant_id, subject_id, model, block, scales, vectors)
select %s, %s, %s, new.* from unnest(%b::integer[], %b::bytea[], %b::bytea[]) as new
on conflict (tenant_id, subject_id, model, block) do update set scales = excluded.scales, vectors = excluded.vectors
"""

_LACKING = f"""
  from passage_blocks b
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block and v.model = %(model)s
 where b.tenant_id = %(tenant)s and b.subject_id = %(subject)s
   and coalesce(octet_length(v.scales), 0) / 4 < octet_length(b.passages) / {RECORD.itemsize}
"""


@dataclass(frozen=True, slots=True)
class ModelVectors:
    """Vectors of some passages by one model, as they are stored: one byte a dimension, and one scale a row."""

    model: str
    scale: NDArray[np.float32]
    vectors: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class LackingBlock:
    """A block of which only the first `known` passages have vectors of a model."""

    block: int
    known: int
    source_ids: list[bytes]
    """Of the passages without vectors."""
    spans: list[tuple[int, int]]
    """Where they stand in their sources."""


def lacks_vectors(conn: Connection, tenant_id: str, subject_id: str, model: str) -> bool:
    """Whether any passage of the subject has no vector of the model. Reads lengths, not vectors."""
    parameters = {"tenant": tenant_id, "subject": subject_id, "model": model}
    row = conn.execute(f"select exists (select 1 {_LACKING})", parameters).fetchone()
    return bool(row and row[0])


def lacking_blocks(conn: Connection, tenant_id: str, subject_id: str, model: str, *, limit: int) -> list[LackingBlock]:
    """The first blocks in which vectors of the model are missing. Index: the primary keys."""
    parameters = {"tenant": tenant_id, "subject": subject_id, "model": model, "limit": limit}
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(
            f"select b.block, coalesce(octet_length(v.scales), 0) / 4, b.passages {_LACKING}"
            " order by b.block limit %(limit)s",
            parameters,
        ).fetchall()
    found = []
    for block, known, passages in rows:
        records = np.frombuffer(passages, dtype=RECORD)[known:]
        found.append(
            LackingBlock(
                block=block,
                known=known,
                source_ids=[source.tobytes() for source in records["source_id"]],
                spans=[(int(start), int(stop)) for start, stop in zip(records["start"], records["stop"], strict=True)],
            )
        )
    return found


def extend_block(
    conn: Connection, tenant_id: str, subject_id: str, new: ModelVectors, *, block: int, known: int
) -> bool:
    """Add vectors behind the `known` first ones of a block; False when somebody else has added some meanwhile.

    Call it with the subject locked.
    """
    if known == 0:
        cursor = conn.execute(
            _SAVE.replace("do update set scales = excluded.scales, vectors = excluded.vectors", "do nothing"),
            (tenant_id, subject_id, new.model, [block], [new.scale.astype("<f4").tobytes()], [new.vectors.tobytes()]),
        )
        return cursor.rowcount == 1
    cursor = conn.execute(
        "update passage_vectors set scales = scales || %b, vectors = vectors || %b"
        " where tenant_id = %s and subject_id = %s and model = %s and block = %s and octet_length(scales) = %s",
        (
            new.scale.astype("<f4").tobytes(),
            new.vectors.tobytes(),
            tenant_id,
            subject_id,
            new.model,
            block,
            4 * known,
        ),
    )
    return cursor.rowcount == 1


def append_vectors(
    conn: Connection, tenant_id: str, subject_id: str, models: Sequence[ModelVectors], *, stored: int
) -> None:
    """Add the vectors of passages that were just appended behind the `stored` ones, for each model.

    Where the last block lacks vectors of a model, those of the new passages in that block are left out as well, so
    that a block's vectors are always of its first passages; a fill run brings them (`pipelines.embedding_fill`).

    Call it with the subject locked.
    """
    within = stored % BLOCK
    for new in models:
        count = len(new.scale)
        if new.vectors.shape[1] == 0 or count == 0:
            continue
        head = min(BLOCK - within, count)
        first = ModelVectors(new.model, new.scale[:head], new.vectors[:head])
        extend_block(conn, tenant_id, subject_id, first, block=stored // BLOCK, known=within)
        parts = [slice(start, start + BLOCK) for start in range(head, count, BLOCK)]
        if parts:
            numbers = [stored // BLOCK + 1 + number for number in range(len(parts))]
            scales = [new.scale[part].astype("<f4").tobytes() for part in parts]
            vectors = [new.vectors[part].tobytes() for part in parts]
            conn.execute(_SAVE, (tenant_id, subject_id, new.model, numbers, scales, vectors))
