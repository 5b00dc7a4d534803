"""SQL that takes a subject out of the database row by row, and puts one in.

Rows travel as JSON objects of their columns, documents inside them as the very text that is stored. Columns come from
the catalogue, so one that is added later travels without a word here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from storage.full_text import CONFIGURATION_SQL
from storage.passages import RECORD_BYTES
from storage.transactions import Connection

#: Tables of a subject that travel, in the order in which they are written, with the order of their rows.
SECTIONS: Mapping[str, LiteralString] = {
    "episodes": "seq",
    "memories": "created_at, id",
    "memory_versions": "known_from, memory_id",
    "resolutions": "created_at, id",
    "resolution_changes": "changed_at, resolution_id, version",
    "passage_blocks": "block",
    "passage_vectors": "model, block",
}

#: Columns that mean nothing elsewhere, or that are worked out again.
_STAY = frozenset({"tenant_id", "subject_id", "search", "run_id", "changed_in", "written_in", "replaced_in"})

#: Rows that one round trip fetches.
_FETCHED_AT_ONCE = 500

#: What the subject's own counters say is worked out of the rows that are there.
_RECOUNT = f"""
update subjects s
   set episode_count = e.n, compiled_count = e.compiled, last_seq = greatest(s.last_seq, e.newest),
       memory_count = (select count(*) from memories m
                        where m.tenant_id = s.tenant_id and m.subject_id = s.subject_id),
       passage_count = (select coalesce(sum(octet_length(b.passages) / {RECORD_BYTES}), 0) from passage_blocks b
                         where b.tenant_id = s.tenant_id and b.subject_id = s.subject_id),
       last_episode_at = greatest(s.last_episode_at, e.newest_at),
       resolution_version = s.resolution_version + %(resolutions)s,
       embedding_model = coalesce(%(model)s, s.embedding_model)
  from (select count(*) as n, count(*) filter (where seq <= (select compiled_seq from subjects
                                                         where tenant_id = %(tenant)s and subject_id = %(subject)s))
               as compiled,
               coalesce(max(seq), 0) as newest, max(created_at) as newest_at
          from episodes where tenant_id = %(tenant)s and subject_id = %(subject)s) e
 where s.tenant_id = %(tenant)s and s.subject_id = %(subject)s
"""


def columns(conn: Connection, table: str) -> list[str]:
    """The columns of a table that travel."""
    rows = conn.execute(
        "select column_name::text from information_schema.columns"
        " where table_schema = 'public' and table_name = %s and is_generated = 'NEVER' order by ordinal_position",
        (table,),
    ).fetchall()
    return [name for (name,) in rows if name not in _STAY]


def has_rows(conn: Connection, tenant_id: str, subject_id: str) -> bool:
    """Whether the subject has anything that travels. Indexes: the primary key of subjects, resolutions_newest."""
    row = conn.execute(
        "select episode_count > 0 or memory_count > 0 or exists (select 1 from resolutions r"
        "  where r.tenant_id = s.tenant_id and r.subject_id = s.subject_id)"
        "  from subjects s where tenant_id = %s and subject_id = %s",
        (tenant_id, subject_id),
    ).fetchone()
    return bool(row and row[0])


def subject_ids(conn: Connection, tenant_id: str) -> list[str]:
    """Every subject of a tenant. Index: the primary key."""
    rows = conn.execute("select subject_id from subjects where tenant_id = %s order by subject_id", (tenant_id,))
    return [subject_id for (subject_id,) in rows]


def recorded_until(conn: Connection, tenant_id: str, subject_id: str) -> datetime | None:
    """When the newest episode of the subject was recorded; None where there is none. Index: the primary key."""
    row = conn.execute(
        "select last_episode_at from subjects where tenant_id = %s and subject_id = %s", (tenant_id, subject_id)
    ).fetchone()
    return row[0] if row else None


def counts(conn: Connection, tenant_id: str, subject_id: str) -> dict[str, int]:
    """How many rows each section has."""
    subject = (tenant_id, subject_id)
    result = {}
    for table in SECTIONS:
        row = conn.execute(
            f"select count(*) from {table} where tenant_id = %s and subject_id = %s",
            subject,
        ).fetchone()
        result[table] = int(row[0]) if row else 0
    return result


def subject_row(conn: Connection, tenant_id: str, subject_id: str) -> bytes:
    """The subject's own row as JSON."""
    names = ", ".join(columns(conn, "subjects"))
    row = conn.execute(
        f"select row_to_json(s)::text from (select {names} from subjects where tenant_id = %s and subject_id = %s) s",
        (tenant_id, subject_id),
    ).fetchone()
    assert row is not None
    return str(row[0]).encode()


def rows(conn: Connection, table: str, tenant_id: str, subject_id: str) -> Iterator[bytes]:
    """The rows of a section as JSON, fetched piece by piece."""
    names = ", ".join(columns(conn, table))
    with conn.cursor(name=f"export_{table}") as cursor:
        cursor.itersize = _FETCHED_AT_ONCE
        cursor.execute(
            f"select row_to_json(r)::text from (select {names} from {table}"
            f" where tenant_id = %s and subject_id = %s order by {SECTIONS[table]}) r",
            (tenant_id, subject_id),
        )
        for (text,) in cursor:
            yield text.encode()


def create_subject(conn: Connection, tenant_id: str, subject_id: str, row: bytes | None) -> bool:
    """Create the subject, with what its own row said, and lock it. False, locked all the same, when it was there."""
    created = conn.execute(
        "insert into subjects (tenant_id, subject_id) values (%s, %s) on conflict do nothing", (tenant_id, subject_id)
    ).rowcount
    conn.execute("select 1 from subjects where tenant_id = %s and subject_id = %s for update", (tenant_id, subject_id))
    if created and row is not None:
        known = columns(conn, "subjects")
        present = [name for (name,) in conn.execute("select json_object_keys(%s::json)", (row.decode(),))]
        names = [name for name in known if name in present]
        if names:
            listed = ", ".join(names)
            conn.execute(
                f"update subjects s set ({listed}) = (select {', '.join('d.' + name for name in names)}"
                "  from json_populate_record(null::subjects, %s::json) d)"
                " where tenant_id = %s and subject_id = %s",
                (row.decode(), tenant_id, subject_id),
            )
    return bool(created)


def insert(
    conn: Connection,
    table: str,
    tenant_id: str,
    subject_id: str,
    documents: Sequence[bytes],
    *,
    languages: Sequence[str | None] = (),
) -> int:
    """Insert rows that are not there yet; all documents of one call must have the same keys.

    Args:
        languages: of memories, one for each document: what full-text search indexes it by (`storage.full_text`).

    Returns:
        How many were inserted.

    Raises:
        psycopg.DataError, psycopg.IntegrityError: when a row cannot be one of this table.
    """
    if not documents:
        return 0
    first = documents[0].decode()
    present = {name for (name,) in conn.execute("select json_object_keys(%s::json)", (first,))}
    names = [name for name in columns(conn, table) if name in present]
    targets = ["tenant_id", "subject_id", *names]
    values = ["%(tenant)s", "%(subject)s", *(f"d.{name}" for name in names)]
    if table == "memories":
        targets.append("search")
        values.append(f"to_tsvector({CONFIGURATION_SQL.format(language='t.language')}, d.content)")
    return conn.execute(
        f"insert into {table} ({', '.join(targets)}) select {', '.join(values)}"
        " from unnest(%(documents)s::text[], %(languages)s::text[]) as t (document, language)"
        f" cross join lateral json_populate_record(null::{table}, document::json) d"
        " on conflict do nothing",
        {
            "tenant": tenant_id,
            "subject": subject_id,
            "documents": [document.decode() for document in documents],
            "languages": list(languages),
        },
    ).rowcount


def known_ids(conn: Connection, table: str, ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """Which of these ids are taken, and by which tenant and subject. Index: the primary key."""
    found = conn.execute(
        f"select id, tenant_id, subject_id from {table} where id = any(%s)",
        (list(ids),),
    )
    return {id: (tenant_id, subject_id) for id, tenant_id, subject_id in found}


def newest_seq(conn: Connection, tenant_id: str, subject_id: str) -> tuple[int, bool]:
    """The subject's last sequence number, and whether all of its episodes are compiled."""
    row = conn.execute(
        "select last_seq, episode_count = compiled_count from subjects where tenant_id = %s and subject_id = %s",
        (tenant_id, subject_id),
    ).fetchone()
    return (row[0], row[1]) if row else (0, True)


def recount(
    conn: Connection, tenant_id: str, subject_id: str, *, compiled_seq: int, resolutions: int, model: str | None
) -> None:
    """Make the subject's counters say what is there; episodes up to `compiled_seq` count as compiled.

    Args:
        model: whose vectors the subject is read with from now on; None leaves that as it is.
    """
    parameters = {
        "tenant": tenant_id,
        "subject": subject_id,
        "compiled_seq": compiled_seq,
        "resolutions": resolutions,
        "model": model,
    }
    conn.execute(
        "update subjects set compiled_seq = greatest(compiled_seq, %(compiled_seq)s)"
        " where tenant_id = %(tenant)s and subject_id = %(subject)s",
        parameters,
    )
    conn.execute(_RECOUNT, parameters)


def without_passages(conn: Connection, tenant_id: str, subject_id: str) -> tuple[list[UUID], list[UUID]]:
    """Compiled episodes in their order, and active memories in theirs, that no passage was taken from.

    Ids of passages are compared in the database; nothing but ids comes back.
    """
    parameters = {"tenant": tenant_id, "subject": subject_id}
    known = f"""
        with known as materialized (
            select distinct
                   encode(substring(b.passages from (n * {RECORD_BYTES} + 1)::int for 16), 'hex')::uuid as id
              from passage_blocks b,
                   generate_series(0, octet_length(b.passages) / {RECORD_BYTES} - 1) as n
             where b.tenant_id = %(tenant)s and b.subject_id = %(subject)s)
    """
    episodes = conn.execute(
        f"{known} select e.id from episodes e join subjects s using (tenant_id, subject_id)"
        " where e.tenant_id = %(tenant)s and e.subject_id = %(subject)s and e.seq <= s.compiled_seq and e.body <> ''"
        " and e.id not in (select id from known) order by e.seq",
        parameters,
    ).fetchall()
    memories = conn.execute(
        f"{known} select m.id from memories m where m.tenant_id = %(tenant)s and m.subject_id = %(subject)s"
        " and m.status = 'active' and m.id not in (select id from known) order by m.created_at, m.id",
        parameters,
    ).fetchall()
    return [id for (id,) in episodes], [id for (id,) in memories]
