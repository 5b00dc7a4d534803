"""A subject as it stood: at the time of a receipt, or at any other.

The schema `as_of` has views of `memories`, `resolutions` and `episodes` with the names of the tables. `look_back` puts
it in front of the search path of a transaction, so that every query of the server runs as it is against the past. What
those views cannot say is read here: how far the subject was compiled, and which passages had not ended yet.

Receipts name the snapshot that they were read under, and rows name the transactions that wrote and replaced them, so
what a reader saw is known exactly, whatever the clocks of the machines said. A time alone is as exact as those clocks.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from storage.transactions import Connection

_LOOK_BACK = """
select set_config('search_path', 'as_of, ' || current_setting('search_path'), true),
       set_config('app.as_of_snapshot', %(snapshot)s, true), set_config('app.as_of_time', %(known_at)s, true),
       set_config('app.as_of_seq', %(last_seq)s, true), set_config('app.as_of_labels', %(labels)s, true)
"""

_WATERMARK = """
select s.created_at, coalesce(state.passage_count, 0), coalesce(state.compiled_seq, 0),
       coalesce((select e.seq from episodes e
                  where e.tenant_id = s.tenant_id and e.subject_id = s.subject_id and e.created_at <= %(known_at)s
                  order by e.seq desc limit 1), 0),
       pg_current_snapshot()::text
  from subjects s
  left join lateral (
    select passage_count, compiled_seq from subject_states h
     where h.tenant_id = s.tenant_id and h.subject_id = s.subject_id and h.known_from <= %(known_at)s
     order by h.number desc limit 1) state on true
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s and s.created_at <= %(known_at)s
"""

_STATE = """
select s.created_at,
       (select h.speakers from subject_states h
         where h.tenant_id = s.tenant_id and h.subject_id = s.subject_id and h.speakers is not null
           and as_of.stood(h.written_in, h.known_from, null, null)
         order by h.number desc limit 1),
       exists (select 1 from partial_erasures e
                where e.tenant_id = s.tenant_id and e.subject_id = s.subject_id
                  and not as_of.stood(e.erased_in, e.erased_at, null, null)),
       s.embedding_model
  from subjects s
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s
"""

#: Of a source that was ended several times, what stood before the first of them that had not happened yet.
_NOT_ENDED = """
select distinct on (source_id) source_id, valid_until
  from passage_ends
 where tenant_id = %(tenant)s and subject_id = %(subject)s and not as_of.stood(replaced_in, known_to, null, null)
 order by source_id, number
"""

_BLOCKS = """
select b.passages, b.terms, v.scales, v.vectors
  from passage_blocks b
  left join passage_vectors v
    on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block and v.model = %(model)s
 where b.tenant_id = %(tenant)s and b.subject_id = %(subject)s and b.block < %(blocks)s
 order by b.block
"""

_TRUE_AT = """
select id, kind, content, valid_from
  from memories
 where tenant_id = %(tenant)s and subject_id = %(subject)s and valid_from <= %(moment)s
   and (valid_to > %(moment)s or (valid_to is null and status = 'active'))
 order by created_at, id
"""


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a subject a reader saw. `subject_since` tells it from another subject of the same id."""

    subject_since: datetime
    passages: int
    compiled_seq: int
    last_seq: int
    snapshot: str


class StateThen(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known of a subject as it stood."""

    subject_since: datetime
    speakers: list[str]
    #: Whether anything of the subject was erased since: then it cannot be rebuilt.
    erased_since: bool
    #: Whose vectors the subject is read with now; None where that was never said.
    embedding_model: str | None


class TrueMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that was true at a moment."""

    id: UUID
    kind: str
    content: str
    valid_from: datetime


def look_back(
    conn: Connection, *, snapshot: str = "", known_at: datetime | None = None, last_seq: int, labels_then: bool
) -> None:
    """From here to the end of the transaction, queries see memories, resolutions and episodes as they stood.

    Args:
        snapshot: the transactions whose writes are seen; empty sees all.
        known_at: the time at which a state must have been the current one; None for the newest that is seen.
        last_seq: the subject's newest episode that is seen.
        labels_then: whether memories have the labels of that time. What a caller may see is a question of those of now.
    """
    conn.execute(
        _LOOK_BACK,
        {
            "snapshot": snapshot,
            "known_at": known_at.isoformat() if known_at else "",
            "last_seq": str(last_seq),
            "labels": "then" if labels_then else "now",
        },
    )


def watermark_at(conn: Connection, tenant_id: str, subject_id: str, known_at: datetime) -> Watermark | None:
    """How far the subject was stored and compiled at a time; None when nothing was. Indexes: the primary keys."""
    row = conn.execute(_WATERMARK, {"tenant": tenant_id, "subject": subject_id, "known_at": known_at}).fetchone()
    if row is None:
        return None
    since, passages, compiled_seq, last_seq, snapshot = row
    return Watermark(
        subject_since=since, passages=passages, compiled_seq=compiled_seq, last_seq=last_seq, snapshot=snapshot
    )


def state_then(conn: Connection, tenant_id: str, subject_id: str) -> StateThen | None:
    """The subject's speakers at the moment that the transaction looks back to; None for an unknown subject."""
    row = conn.execute(_STATE, {"tenant": tenant_id, "subject": subject_id}).fetchone()
    if row is None:
        return None
    return StateThen(subject_since=row[0], speakers=row[1] or [], erased_since=row[2], embedding_model=row[3])


def not_ended(conn: Connection, tenant_id: str, subject_id: str) -> dict[UUID, int]:
    """`valid_until` of the passages' sources that were ended only after the moment. Index: the primary key."""
    return dict(conn.execute(_NOT_ENDED, {"tenant": tenant_id, "subject": subject_id}).fetchall())


def load_blocks(
    conn: Connection, tenant_id: str, subject_id: str, *, model: str, blocks: int
) -> list[tuple[bytes, bytes, bytes | None, bytes | None]]:
    """The subject's first blocks of passages. Indexes: the primary keys."""
    with conn.cursor(binary=True) as cursor:
        return cursor.execute(
            _BLOCKS, {"tenant": tenant_id, "subject": subject_id, "model": model, "blocks": blocks}
        ).fetchall()


def true_at(conn: Connection, tenant_id: str, subject_id: str, moment: datetime) -> list[TrueMemory]:
    """Memories that were true at a moment, whatever became of them since. Index: memories_timeline.

    One that was taken back without an end was never true.
    """
    rows = conn.execute(_TRUE_AT, {"tenant": tenant_id, "subject": subject_id, "moment": moment}).fetchall()
    return [TrueMemory(id=id, kind=kind, content=content, valid_from=start) for id, kind, content, start in rows]
