"""Notes in a context that something is there which the caller may not read."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pipelines.context_text import Delivered
from pipelines.policy.visibility import MOST_NOTES, REDACTED, Visibility
from storage import memories
from storage.passage_columns import Kind, PassageColumns
from storage.rows import Memory
from storage.transactions import Connection

_KINDS = {kind.name.lower(): kind for kind in (Kind.PROFILE_FACT, Kind.PROCEDURE, Kind.EPISODE_SUMMARY)}


def load_notes(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    visibility: Visibility,
    stored: PassageColumns,
    *,
    now: datetime,
    known: dict[UUID, Memory],
) -> tuple[list[Delivered], dict[UUID, Memory]]:
    """The subject's redacted memories, newest first, as lines without words and as memories without content.

    They are the same for every task and stand behind all that was ranked, so that asking tells nothing about them.

    Args:
        known: The notes that were read of the same memories before (`Judgement.notes`); those read now join them.
    """
    if not visibility.redacted and visibility.unlabelled is None:
        return [], {}
    ids = visibility.redacted_in(stored, now=int(now.timestamp() * 1_000_000), most=MOST_NOTES)
    missing = [id for id in ids if id not in known]
    if missing:
        rows = memories.memories_by_ids(conn, tenant_id, subject_id, missing)
        known.update({id: visibility.shown(row) for id, row in rows.items()})
    noted = {id: known[id] for id in ids if id in known and known[id].status == "active"}
    delivered = [
        Delivered(
            row=-1,
            source=id,
            kind=_KINDS[memory.kind],
            text=REDACTED,
            speaker="",
            at=memory.valid_from,
            session_id=None,
        )
        for id, memory in noted.items()
        if memory.kind in _KINDS
    ]
    return delivered, noted
