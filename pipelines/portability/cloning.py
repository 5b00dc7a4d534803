"""Copying a subject under another id or into another tenant: an export that is imported as it is written.

What is copied has new ids, which follow from the old ones, and keeps its labels, so that no policy loses hold of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

import msgspec

from config.clock import utcnow
from config.errors import Conflict
from pipelines.portability.document import Header
from pipelines.portability.export import export_subject
from pipelines.portability.importing import Imported, Wishes, import_document
from pipelines.portability.reading import Lines
from pipelines.services import Services
from storage import portability
from storage.transactions import tenant_transaction

#: What of a subject is copied (contract: governance §15.4). Sources are no records of their own here.
CloneScope = Literal["episodes", "memories", "episodes_and_memories", "episodes_memories_sources"]

_SECTIONS: dict[str, tuple[str, ...]] = {
    "episodes": ("episodes",),
    "memories": ("memories", "memory_versions"),
    "episodes_and_memories": tuple(portability.SECTIONS),
    "episodes_memories_sources": tuple(portability.SECTIONS),
}


class Cloned(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was made."""

    imported: Imported
    cloned_at: datetime


class _Part:
    """A document without some of its sections."""

    def __init__(self, lines: Lines, sections: tuple[str, ...]) -> None:
        self._lines, self._sections = lines, sections
        # Without the memories that came of them, episodes have not been compiled.
        whole = "episodes" in sections and "memories" in sections
        self.header: Header = (
            lines.header if whole else msgspec.structs.replace(lines.header, subject=msgspec.Raw(b"null"))
        )

    def rows(self) -> Iterator[tuple[str, bytes]]:
        return ((section, row) for section, row in self._lines.rows() if section in self._sections)


def clone(
    services: Services,
    tenant_id: str,
    subject_id: str,
    *,
    target_subject_id: str,
    target_tenant_id: str,
    scope: CloneScope,
    by: str,
    request_id: str | None = None,
) -> Cloned:
    """Copy a subject to where nothing is yet.

    Raises:
        NotFound: when nothing is stored of it.
        Conflict: when something is stored of the target.
    """
    with tenant_transaction(services.pool, target_tenant_id) as conn:
        if portability.has_rows(conn, target_tenant_id, target_subject_id):
            raise Conflict(f"there is a subject {target_subject_id} already")
    pieces = export_subject(services, tenant_id, subject_id, form="jsonl", by=by, request_id=request_id)
    lines = Lines(_lines(pieces))
    lines.next_document()
    wishes = Wishes(
        target_subject_id=target_subject_id,
        target_tenant_id=target_tenant_id,
        preserve_ids=False,
        by=by,
        request_id=request_id,
    )
    return Cloned(imported=import_document(services, _Part(lines, _SECTIONS[scope]), wishes), cloned_at=utcnow())


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
