"""SQL that finds the subjects a deletion by filter means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg.rows import class_row

from storage.subjects import HIDDEN_PREFIXES
from storage.transactions import Connection

_MATCHING = """
  from subjects
 where (%(tenant)s::text is null or tenant_id = %(tenant)s)
   and not subject_id ^@ any(%(hidden)s)
   and (%(prefix)s::text is null or subject_id ^@ %(prefix)s)
   and (%(before)s::timestamptz is null or coalesce(last_episode_at, created_at) < %(before)s)
"""


class SubjectFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which subjects; what is None does not count. `quiet_since` means those without an episode since then."""

    tenant_id: str | None = None
    prefix: str | None = None
    quiet_since: datetime | None = None


class MatchedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject that the filter means."""

    subject_id: str
    tenant_id: str
    episode_count: int
    memory_count: int
    last_episode_at: datetime | None


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """How much the filter means."""

    subjects: int
    episodes: int
    memories: int


def count(conn: Connection, which: SubjectFilter) -> Matched:
    """How many subjects match, and how much they hold. Index: the primary key, by tenant."""
    row = conn.execute(
        "select count(*), coalesce(sum(episode_count), 0)::bigint, coalesce(sum(memory_count), 0)::bigint" + _MATCHING,
        _parameters(which),
    ).fetchone()
    assert row is not None
    return Matched(subjects=row[0], episodes=row[1], memories=row[2])


def first(conn: Connection, which: SubjectFilter, *, limit: int | None) -> Sequence[MatchedSubject]:
    """The matching subjects by tenant and id, at most `limit`."""
    statement = (
        "select subject_id, tenant_id, episode_count, memory_count, last_episode_at"
        + _MATCHING
        + " order by tenant_id, subject_id limit %(limit)s"
    )
    with conn.cursor(row_factory=class_row(MatchedSubject)) as cursor:
        return cursor.execute(statement, {**_parameters(which), "limit": limit}).fetchall()


def _parameters(which: SubjectFilter) -> dict[str, object]:
    return {
        "tenant": which.tenant_id,
        "prefix": which.prefix,
        "before": which.quiet_since,
        "hidden": list(HIDDEN_PREFIXES),
    }
