"""What a context or search request reads: one statement for all candidates, one for the texts of the chosen."""

from __future__ import annotations

from dataclasses import dataclass

from storage.episodes import UncompiledEpisode, uncompiled_episodes
from storage.history import Watermark
from storage.passage_columns import PassageColumns
from storage.passages import decode_blocks
from storage.tenant_configs import CONFIG_SQL
from storage.transactions import Connection

_CANDIDATES = f"""
select s.episode_count - s.compiled_count, s.compiled_seq, s.last_seq, s.speakers, s.resolution_version > 0,
       s.created_at, s.passage_count, pg_current_snapshot()::text, {CONFIG_SQL},
       b.passages, b.terms, v.scales, v.vectors
  from subjects s
  left join passage_blocks b on b.tenant_id = s.tenant_id and b.subject_id = s.subject_id
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block and v.model = %(model)s
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
    watermark: Watermark
    #: The tenant's document as `pipelines.tenant_config.parse` reads it.
    tenant_config: str | None


def load_candidates(
    conn: Connection, tenant_id: str, subject_id: str, *, model: str, dimensions: int, waiting_limit: int
) -> Candidates | None:
    """The subject's passages in one statement; None for an unknown subject. Indexes: the primary keys.

    Only when episodes wait for compilation are the newest `waiting_limit` of them read in a second statement.
    """
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(_CANDIDATES, {"tenant": tenant_id, "subject": subject_id, "model": model}).fetchall()
    if not rows:
        return None
    uncompiled, compiled_seq, last_seq, speakers, has_resolutions, since, passages, snapshot, config = rows[0][:9]
    blocks = [row[9:] for row in rows if row[9] is not None]
    waiting = []
    if uncompiled:
        after = max(compiled_seq, last_seq - waiting_limit)
        waiting = uncompiled_episodes(conn, tenant_id, subject_id, after_seq=after, limit=waiting_limit)
    return Candidates(
        columns=decode_blocks(blocks, dimensions=dimensions),
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
        tenant_config=config,
    )
