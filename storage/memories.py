"""SQL of `memories`. A trigger of migration 0001 keeps the former state of every row that changes, as a version."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage import full_text
from storage.full_text import CONFIGURATION_SQL
from storage.rows import Memory
from storage.selection import ALL, IdFilter
from storage.transactions import Connection, text_array, uuid_array

COLUMNS = (
    "id, subject_id, kind, content, summary, confidence, valid_from, valid_to, source_episode_ids, metadata, status,"
    " sensitivity_labels, created_at, updated_at"
)

#: Readers see a memory while it is active and not expired; the sweep only tidies up behind this condition.
VISIBLE = "status = 'active' and (valid_to is null or valid_to > now())"

_INSERT = f"""
insert into memories (id, tenant_id, subject_id, kind, content, summary, confidence, valid_from, valid_to,
                      source_episode_ids, metadata, status, claim_key, claim_value, content_hash, superseded_by,
                      suggested_labels, run_id, search, created_at, updated_at)
select m.id, %(tenant)s, %(subject)s, m.kind, m.content, m.summary, m.confidence, m.valid_from, m.valid_to,
       m.source_episode_ids, m.metadata, m.status, m.claim_key, m.claim_value, decode(m.content_hash, 'hex'),
       m.superseded_by, m.suggested_labels, %(run)s,
       to_tsvector({CONFIGURATION_SQL.format(language="m.language")}, m.content), %(now)s, %(now)s
  from json_to_recordset(%(rows)s::json) as m (
           id uuid, kind text, content text, summary text, confidence float8, valid_from timestamptz,
           valid_to timestamptz, source_episode_ids uuid[], metadata json, status text, claim_key text,
           claim_value text, content_hash text, superseded_by uuid, suggested_labels text[], language text)
"""

_SUPERSEDE = """
update memories m
   set status = 'superseded', valid_to = s.valid_to, superseded_by = s.winner, updated_at = %(now)s,
       metadata = (m.metadata::jsonb || jsonb_build_object('supersession', s.record::jsonb))::json
  from unnest(%(losers)s::uuid[], %(winners)s::uuid[], %(valid_to)s::timestamptz[], %(records)s::text[])
       as s (loser, winner, valid_to, record)
 where m.id = s.loser and m.tenant_id = %(tenant)s and m.status = 'active'
"""

_FOLD = """
update memories m
   set source_episode_ids = f.sources::uuid[], valid_from = f.valid_from, valid_to = f.valid_to,
       metadata = f.metadata::json, claim_key = f.claim_key, claim_value = f.claim_value, updated_at = %(now)s
  from unnest(%(ids)s::uuid[], %(sources)s::text[], %(valid_from)s::timestamptz[], %(valid_to)s::timestamptz[],
              %(metadata)s::text[], %(claim_key)s::text[], %(claim_value)s::text[])
       as f (id, sources, valid_from, valid_to, metadata, claim_key, claim_value)
 where m.id = f.id and m.tenant_id = %(tenant)s
"""

_RIVALS = f"""
select distinct on (id) claim_key, claim_value, content_hash, {COLUMNS}
  from (
    select * from memories
     where tenant_id = %(tenant)s and subject_id = %(subject)s and claim_key = any(%(claims)s)
       and status in ('active', 'superseded')
    union all
    select * from memories
     where tenant_id = %(tenant)s and subject_id = %(subject)s and content_hash = any(%(hashes)s::bytea[])
       and status in ('active', 'superseded')
    union all
    select newest.* from unnest(%(kinds)s::text[]) as wanted (wanted_kind)
      cross join lateral (
        select * from memories
         where tenant_id = %(tenant)s and subject_id = %(subject)s and kind = wanted_kind and status = 'active'
         order by created_at desc, id desc limit %(newest)s) newest
  ) rivals
"""

_BY_IDS = f"select {COLUMNS} from memories where tenant_id = %s and subject_id = %s and id = any(%s::uuid[])"

_BY_RUN = f"select {COLUMNS} from memories where tenant_id = %s and run_id = %s order by created_at, id"

_SEARCH_TEXT = f"""
select {COLUMNS}
  from memories, (select {{query_sql}} as query) q
 where tenant_id = %(tenant)s and subject_id = %(subject)s and {VISIBLE}
   and (%(kind)s::text is null or kind = %(kind)s) {{selection}}
   and (search @@ query or content ilike %(substring)s)
 order by (content ilike %(substring)s) desc, ts_rank(search, query) desc, created_at desc, id desc
 limit %(limit)s
"""

_NEWEST = f"""
select {COLUMNS} from memories
 where tenant_id = %(tenant)s and subject_id = %(subject)s and status = 'active'
   and (valid_to is null or valid_to > coalesce(%(now)s::timestamptz, now()))
   and (%(kind)s::text is null or kind = %(kind)s) {{selection}}
 order by created_at desc, id desc
 limit %(limit)s
"""


_encode = msgspec.json.Encoder().encode


class NewMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory about to be published, as the database reads it; `content_hash` in hexadecimal digits."""

    id: UUID
    kind: str
    content: str
    summary: str
    confidence: float
    valid_from: datetime
    valid_to: datetime | None
    source_episode_ids: list[UUID]
    metadata: msgspec.Raw
    status: str
    claim_key: str | None
    claim_value: str | None
    content_hash: str
    superseded_by: UUID | None
    suggested_labels: list[str] = []
    #: Configuration of full-text search (`storage.full_text`); None takes the tenant's.
    language: str | None = None

    def stored(self, subject_id: str, now: datetime) -> Memory:
        """The memory as readers see it once it is published at `now`."""
        return Memory(
            id=self.id,
            subject_id=subject_id,
            kind=self.kind,
            content=self.content,
            summary=self.summary,
            confidence=self.confidence,
            valid_from=self.valid_from.astimezone(UTC),
            valid_to=self.valid_to and self.valid_to.astimezone(UTC),
            source_episode_ids=self.source_episode_ids,
            metadata=self.metadata,
            status=self.status,
            sensitivity_labels=[],
            created_at=now,
            updated_at=now,
        )


class Supersession(msgspec.Struct, frozen=True, kw_only=True):
    """One stored memory that a new one contradicts; `record` is the JSON that says why."""

    loser: UUID
    winner: UUID
    valid_to: datetime
    record: bytes


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """What a stored memory becomes once repetitions of it are taken in."""

    id: UUID
    source_episode_ids: list[UUID]
    valid_from: datetime
    valid_to: datetime | None
    metadata: bytes
    claim_key: str | None
    claim_value: str | None


class Rival(Memory, frozen=True, kw_only=True):
    """A stored memory that new ones may repeat or contradict."""

    claim_key: str | None
    claim_value: str | None
    content_hash: bytes


def insert_memories(
    conn: Connection, tenant_id: str, subject_id: str, rows: Sequence[NewMemory], *, run_id: UUID, now: datetime
) -> None:
    """Insert a compilation's memories in one statement."""
    if not rows:
        return
    parameters = {
        "tenant": tenant_id,
        "subject": subject_id,
        "run": run_id,
        "now": now,
        "rows": _encode(rows).decode(),
    }
    conn.execute(_INSERT, parameters)


def supersede(conn: Connection, tenant_id: str, supersessions: Sequence[Supersession], *, now: datetime) -> None:
    """Mark stored memories as superseded; their former state stays in `memory_versions`."""
    if supersessions:
        conn.execute(
            _SUPERSEDE,
            {
                "tenant": tenant_id,
                "now": now,
                "losers": [s.loser for s in supersessions],
                "winners": [s.winner for s in supersessions],
                "valid_to": [s.valid_to for s in supersessions],
                "records": [s.record.decode() for s in supersessions],
            },
        )


def fold(conn: Connection, tenant_id: str, folds: Sequence[Fold], *, now: datetime) -> None:
    """Take repetitions of stored memories into those memories: further sources, an earlier or longer validity."""
    if folds:
        conn.execute(
            _FOLD,
            {
                "tenant": tenant_id,
                "now": now,
                "ids": [f.id for f in folds],
                "sources": [_array(f.source_episode_ids) for f in folds],
                "metadata": [f.metadata.decode() for f in folds],
                **{
                    name: [getattr(f, name) for f in folds]
                    for name in ("valid_from", "valid_to", "claim_key", "claim_value")
                },
            },
        )


def rivals(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    kinds: Sequence[str],
    claim_keys: Sequence[str],
    content_hashes: Sequence[bytes],
    newest: int,
) -> list[Rival]:
    """Memories that new ones of these kinds, claims and contents could repeat or contradict.

    All with one of the claim keys or contents, superseded ones too, so that history told again changes nothing, and
    the `newest` active ones of each kind. Indexes: memories_claim, memories_content, memories_active.
    """
    with conn.cursor(row_factory=class_row(Rival)) as cursor:
        return cursor.execute(
            _RIVALS,
            {
                "tenant": tenant_id,
                "subject": subject_id,
                "kinds": list(kinds),
                "claims": list(claim_keys),
                "hashes": text_array([f"\\x{content_hash.hex()}" for content_hash in content_hashes]),
                "newest": newest,
            },
        ).fetchall()


def memories_by_ids(conn: Connection, tenant_id: str, subject_id: str, ids: Sequence[UUID]) -> dict[UUID, Memory]:
    """Memories of one subject by id, whatever their status. Index: the primary key."""
    with conn.cursor(row_factory=class_row(Memory)) as cursor:
        return {row.id: row for row in cursor.execute(_BY_IDS, (tenant_id, subject_id, uuid_array(ids)))}


def memories_of_run(conn: Connection, tenant_id: str, run_id: UUID) -> list[Memory]:
    """The memories that a compile run published. Index: memories_run."""
    with conn.cursor(row_factory=class_row(Memory)) as cursor:
        return cursor.execute(_BY_RUN, (tenant_id, run_id)).fetchall()


def search_text(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    query: str,
    substring: str,
    kind: str | None,
    limit: int,
    languages: Collection[str] = (),
    selection: IdFilter = ALL,
) -> list[Memory]:
    """Visible memories that hold a query word or the substring, best first.

    Within a subject the b-tree memories_active is the index: full-text and pattern operators are not leakproof,
    so under row-level security PostgreSQL would not use a GIN index for them.

    Args:
        query: argument of `to_tsquery`, as `storage.full_text.any_word_query` builds it.
        substring: an `ilike` pattern with its wildcards escaped.
        languages: what the query is put as, besides English.
        selection: the memories that may be found.
    """
    with conn.cursor(row_factory=class_row(Memory)) as cursor:
        return cursor.execute(
            _SEARCH_TEXT.format(
                query_sql=full_text.query_sql(languages), selection=selection.condition("id", "selected")
            ),
            {
                **selection.parameters("selected"),
                "tenant": tenant_id,
                "subject": subject_id,
                "query": query,
                "substring": substring,
                "kind": kind,
                "limit": limit,
            },
        ).fetchall()


def newest_memories(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    *,
    kind: str | None,
    limit: int,
    now: datetime | None = None,
    selection: IdFilter = ALL,
) -> list[Memory]:
    """The newest visible memories. Index: memories_active, or memories_timeline where no kind is given.

    Args:
        now: The clock that tells what has expired; the database's if None.
        selection: The memories that may be listed.
    """
    with conn.cursor(row_factory=class_row(Memory)) as cursor:
        return cursor.execute(
            _NEWEST.format(selection=selection.condition("id", "selected")),
            {
                **selection.parameters("selected"),
                "tenant": tenant_id,
                "subject": subject_id,
                "kind": kind,
                "limit": limit,
                "now": now,
            },
        ).fetchall()


def tombstone_expired(conn: Connection, *, limit: int) -> int:
    """Tombstone at most `limit` active memories whose time is over. Index: memories_expiry."""
    cursor = conn.execute(
        "update memories set status = 'tombstoned', updated_at = now() where id in ("
        " select id from memories where status = 'active' and valid_to <= now() order by valid_to limit %s"
        " for update skip locked)",
        (limit,),
    )
    return cursor.rowcount


def _array(ids: Sequence[UUID]) -> str:
    """Text form of a uuid[]; an array of arrays of different lengths has no SQL form."""
    return "{" + ",".join(map(str, ids)) + "}"
