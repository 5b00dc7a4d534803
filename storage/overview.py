"""SQL of the operators' overview. It adds up the counters of subjects: one row each, not one per episode.

It reads every subject and every compile run within its retention: for a person's eye, not for a probe.
"""

from __future__ import annotations

from storage.subjects import HIDDEN_PREFIXES
from storage.transactions import Connection

_COUNTS = """
select coalesce(sum(episode_count), 0)::bigint, coalesce(sum(memory_count), 0)::bigint, count(*)
  from subjects
 where not subject_id ^@ any(%s) and (episode_count > 0 or memory_count > 0)
"""
_HEALTH = """
select coalesce(h.state, 'unknown'), count(*)
  from subjects s
  left join health_states h on h.tenant_id = s.tenant_id and h.subject_id = s.subject_id
 where not s.subject_id ^@ any(%s) and (s.episode_count > 0 or s.memory_count > 0)
 group by 1
"""


def counts(conn: Connection) -> dict[str, int]:
    """Episodes, memories and subjects that are stored."""
    row = conn.execute(_COUNTS, (list(HIDDEN_PREFIXES),)).fetchone()
    assert row is not None
    return dict(zip(("episodes", "memories", "subjects"), row, strict=True))


def subjects_by_health(conn: Connection) -> dict[str, int]:
    """Subjects by the health that was last worked out of them."""
    found: dict[str, int] = dict(conn.execute(_HEALTH, (list(HIDDEN_PREFIXES),)).fetchall())
    return {state: found.get(state, 0) for state in ("healthy", "watch", "at_risk", "unknown")}


def jobs_by_state(conn: Connection) -> dict[str, int]:
    """Compile runs by state."""
    rows = conn.execute("select state, count(*) from runs where kind = 'compile' group by state order by 1").fetchall()
    return dict(rows)
