"""SQL of `policy_bundles`, and of what evaluating a policy needs to know of a subject.

Writing, and reading across tenants, takes an operator's transaction; a tenant's sees its own bundles and the global
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from storage.transactions import Connection

_COLUMNS = "id, tenant_id, bundle_hash, yaml_content, active, created_at, created_by, activated_at, activated_by"

#: First half of the key of an advisory lock; the second is the scope's hash. Who activates waits for whoever does.
_ACTIVATION_LOCK = 518_027_703

_LABELLED = """
with labelled as materialized (
    select id, status, kind, content, sensitivity_labels, source_episode_ids
      from memories
     where tenant_id = %(tenant)s and subject_id = %(subject)s and sensitivity_labels <> '{}'
), siblings as materialized (
    select id, status, kind, content, source_episode_ids
      from memories
     where tenant_id = %(tenant)s and subject_id = %(subject)s and sensitivity_labels = '{}'
       and exists (select 1 from labelled)
       and source_episode_ids && (select coalesce(array_agg(source), '{}')
                                    from labelled, unnest(labelled.source_episode_ids) as source)
), sources as (
    select unnest(source_episode_ids) as id from labelled
    union
    select unnest(source_episode_ids) from siblings
)
select id, status, kind, content, sensitivity_labels, source_episode_ids, null from labelled
union all
select id, status, kind, case when kind = 'episode_summary' then '' else content end, '{}', source_episode_ids, null
  from siblings
union all
select e.id, null, null, null, null, null, e.session_id from sources join episodes e using (id)
 where e.tenant_id = %(tenant)s and e.subject_id = %(subject)s and e.session_id is not null
"""

#: The version of the memories, by the statement that reads them, so that it is that of the very same rows.
_VERSION = """
union all
select null, null, null, memories_version(%(tenant)s, %(subject)s)::text, null, null, null
"""


class BundleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as it was uploaded; `tenant_id` is None for one that holds for all tenants."""

    id: UUID
    tenant_id: str | None
    bundle_hash: str
    yaml_content: str
    active: bool
    created_at: datetime
    created_by: str
    activated_at: datetime | None
    activated_by: str | None


class LabelledMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory with its labels, possibly none."""

    id: UUID
    status: str
    kind: str
    content: str
    labels: list[str]
    source_episode_ids: list[UUID]


class SubjectLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What is labelled of a subject, and what hangs together with it.

    `siblings` have no labels and share an episode with a memory that has; summaries among them come without content,
    because they go with their episode whatever they say. `session_of` knows the episodes of both.
    """

    labelled: list[LabelledMemory] = []
    siblings: list[LabelledMemory] = []
    session_of: dict[UUID, str] = {}
    #: The memories' version (`ReaderState.memories_version`); None if it was not asked for, or there is none now.
    version: int | None = None


def subject_labels(conn: Connection, tenant_id: str, subject_id: str, *, versioned: bool = False) -> SubjectLabels:
    """Everything labelled of the subject, whatever its status, in one statement.

    Indexes: memories_labelled; only where something is labelled the subject's other memories are read by
    memories_timeline, and the episodes of both by their primary key.

    Args:
        versioned: Whether to say which version of the subject's memories this is.
    """
    found = SubjectLabels(labelled=[], siblings=[], session_of={})
    version = None
    with conn.cursor(binary=True) as cursor:
        statement = _LABELLED + _VERSION if versioned else _LABELLED
        rows = cursor.execute(statement, {"tenant": tenant_id, "subject": subject_id}).fetchall()
    for id, status, kind, content, labels, sources, session_id in rows:
        if id is None:
            version = int(content) if content is not None else None
            continue
        if kind is None:
            found.session_of[id] = session_id
            continue
        memory = LabelledMemory(
            id=id, status=status, kind=kind, content=content, labels=labels, source_episode_ids=sources
        )
        (found.labelled if labels else found.siblings).append(memory)
    return msgspec.structs.replace(found, version=version)


def labelled_subjects(conn: Connection, tenant_id: str, subject_ids: Sequence[str]) -> set[str]:
    """Those of the subjects of which anything is labelled. Index: memories_labelled."""
    rows = conn.execute(
        "select distinct subject_id from memories"
        " where tenant_id = %s and subject_id = any(%s) and sensitivity_labels <> '{}'",
        (tenant_id, list(subject_ids)),
    ).fetchall()
    return {subject_id for (subject_id,) in rows}


def bundle_text(conn: Connection, bundle_id: UUID) -> str | None:
    """The document of a bundle. Index: the primary key."""
    row = conn.execute("select yaml_content from policy_bundles where id = %s", (bundle_id,)).fetchone()
    return row[0] if row else None


def insert_bundle(
    conn: Connection,
    id: UUID,
    *,
    tenant_id: str | None,
    bundle_hash: str,
    yaml_content: str,
    created_by: str,
    now: datetime,
) -> BundleRow:
    """Keep a bundle, unless its scope has one of the same content; that one is returned as it is."""
    with conn.cursor(row_factory=class_row(BundleRow)) as cursor:
        cursor.execute(
            "insert into policy_bundles (id, tenant_id, bundle_hash, yaml_content, created_at, created_by)"
            " values (%s, %s, %s, %s, %s, %s) on conflict (tenant_id, bundle_hash) do nothing",
            (id, tenant_id, bundle_hash, yaml_content, now, created_by),
        )
        row = find_bundle(conn, tenant_id, bundle_hash)
    assert row is not None, "either inserted or there before"
    return row


def find_bundle(conn: Connection, tenant_id: str | None, bundle_hash: str) -> BundleRow | None:
    """The bundle of a scope by its hash. Index: (tenant_id, bundle_hash)."""
    with conn.cursor(row_factory=class_row(BundleRow)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from policy_bundles where {_scope(tenant_id)} and bundle_hash = %(hash)s",
            {"tenant": tenant_id, "hash": bundle_hash},
        ).fetchone()


def has_bundle_elsewhere(conn: Connection, bundle_hash: str) -> bool:
    """Whether any scope has a bundle of this content."""
    row = conn.execute("select 1 from policy_bundles where bundle_hash = %s limit 1", (bundle_hash,)).fetchone()
    return row is not None


def list_bundles(conn: Connection, tenant_id: str | None) -> Sequence[BundleRow]:
    """The bundles of a tenant and the global ones, or of every scope; newest first."""
    visible = "true" if tenant_id is None else "(tenant_id is null or tenant_id = %(tenant)s)"
    with conn.cursor(row_factory=class_row(BundleRow)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from policy_bundles where {visible} order by created_at desc, id desc limit 1000",
            {"tenant": tenant_id},
        ).fetchall()


def active_bundle(conn: Connection, tenant_id: str | None) -> BundleRow | None:
    """The bundle in force for a tenant: its own, else the global one. Index: policy_bundles_active."""
    with conn.cursor(row_factory=class_row(BundleRow)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from policy_bundles where active and (tenant_id is null or tenant_id = %(tenant)s)"
            " order by tenant_id nulls last limit 1",
            {"tenant": tenant_id},
        ).fetchone()


def activate(conn: Connection, tenant_id: str | None, bundle_hash: str | None, *, actor: str, now: datetime) -> None:
    """Make a bundle of the scope the active one and every other inactive; None leaves none active."""
    conn.execute(
        "select pg_advisory_xact_lock(%s, hashtext(%s))",
        (_ACTIVATION_LOCK, "global" if tenant_id is None else f"tenant {tenant_id}"),
    )
    parameters = {"tenant": tenant_id, "hash": bundle_hash, "actor": actor, "now": now}
    conn.execute(
        f"update policy_bundles set active = false where {_scope(tenant_id)} and active"
        " and bundle_hash is distinct from %(hash)s",
        parameters,
    )
    conn.execute(
        "update policy_bundles set active = true, activated_at = %(now)s, activated_by = %(actor)s"
        f" where {_scope(tenant_id)} and bundle_hash = %(hash)s and not active",
        parameters,
    )


def _scope(tenant_id: str | None) -> str:
    return "tenant_id is null" if tenant_id is None else "tenant_id = %(tenant)s"
