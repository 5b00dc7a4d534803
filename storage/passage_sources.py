"""The texts that passages point into: episodes' and memories'."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from storage.transactions import Connection

_TEXTS = """
select id, body from episodes where id = any(%(ids)s) and tenant_id = %(tenant)s and subject_id = %(subject)s
union all
select id, content from memories where id = any(%(ids)s) and tenant_id = %(tenant)s and subject_id = %(subject)s
"""


def texts(conn: Connection, tenant_id: str, subject_id: str, ids: Sequence[UUID]) -> dict[bytes, str]:
    """Text of each source by the bytes of its id; what was erased is missing. Indexes: the primary keys."""
    parameters = {"ids": list(ids), "tenant": tenant_id, "subject": subject_id}
    return {id.bytes: text for id, text in conn.execute(_TEXTS, parameters).fetchall()}
