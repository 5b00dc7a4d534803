"""What a context or search request reads: one statement for all candidates, one for the texts of the chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storage.episodes import UncompiledEpisode, uncompiled_episodes
from storage.passage_columns import PassageColumns
from storage.passages import decode_blocks
from storage.transactions import Connection

_CANDIDATES = """
select s.episode_count - s.compiled_count, s.compiled_seq, s.last_seq, s.speakers, s.resolution_version > 0,
       coalesce(%(forced)s::text, s.embedding_model, %(model)s), b.passages, b.terms, v.scales, v.vectors
  from subjects s
  left join passage_blocks b on b.tenant_id = s.tenant_id and b.subject_id = s.subject_id
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block
   and v.model = coalesce(%(forced)s::text, s.embedding_model, %(model)s)
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s
 order by b.block
"""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything retrievable of one subject: compiled passages, and the newest episodes that still wait."""

    columns: PassageColumns
    speakers: list[str]
    waiting: list[UncompiledEpisode]
    has_resolutions: bool
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
    forced_model: str | None = None,
) -> Candidates | None:
    """The subject's passages in one statement; None for an unknown subject. Indexes: the primary keys.

    Which model's vectors are read is decided in the same statement, so that those of two are never mixed.
    Only when episodes wait for compilation are the newest `waiting_limit` of them read in a second statement.

    Args:
        model: for a subject that has had no vectors yet.
        dimensions_of: width of a model's vectors; 0 leaves them out.
        forced_model: in place of the model that the subject is read with, for comparisons.
    """
    with conn.cursor(binary=True) as cursor:
        parameters = {"tenant": tenant_id, "subject": subject_id, "model": model, "forced": forced_model}
        rows = cursor.execute(_CANDIDATES, parameters).fetchall()
    if not rows:
        return None
    uncompiled, compiled_seq, last_seq, speakers, has_resolutions, model = rows[0][:6]
    blocks = [row[6:] for row in rows if row[6] is not None]
    waiting = []
    if uncompiled:
        after = max(compiled_seq, last_seq - waiting_limit)
        waiting = uncompiled_episodes(conn, tenant_id, subject_id, after_seq=after, limit=waiting_limit)
    return Candidates(
        columns=decode_blocks(blocks, dimensions=dimensions_of(model)),
        speakers=speakers,
        waiting=waiting,
        has_resolutions=has_resolutions,
        model=model,
    )
