"""The forms in which a subject travels, and the checksums that say whether it arrived (contract: governance §15.1).

Version 1.0 is the contract's: episodes and memories without sessions, labels, history or resolutions. Version 1.1 is
lossless and keeps the keys of 1.0. A document is one JSON object, or JSON lines:

    {"format": "statewave-subject", "format_version": "1.1", "subject_id": …, "tenant_id": …, "exported_at": …}
    {"section": "episodes", "row": {…}}
    …
    {"end": true, "counts": {…}, "checksum": "…"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from config.errors import BadRequest
from pipelines.receipts import offline
from pipelines.receipts.canonical import canonical_bytes
from storage.passages import BLOCK, LAYOUT

FORMAT = "statewave-subject"
#: Section of the receipts that may travel along, as evidence: they are read and verified, and never imported.
RECEIPTS = offline.RECEIPTS
VERSION_1_0 = "1.0"
VERSION_1_1 = "1.1"

#: Names the form of the rows of passage blocks; a server with another form makes the passages again.
PASSAGE_LAYOUT = f"{BLOCK}:{sha256(repr(list(LAYOUT)).encode()).hexdigest()[:16]}"

#: Keys of the rows of version 1.0, in the order of the contract (core §13).
EPISODE_KEYS_1_0 = (
    *("id", "subject_id", "tenant_id", "source", "type", "payload", "metadata", "provenance"),
    *("occurred_at", "created_at", "last_compiled_at"),
)
MEMORY_KEYS_1_0 = (
    *("id", "subject_id", "tenant_id", "kind", "content", "summary", "confidence", "valid_from", "valid_to"),
    *("source_episode_ids", "metadata", "status", "embedding", "created_at", "updated_at"),
)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What stands above the rows."""

    format_version: str
    subject_id: str
    tenant_id: str | None = None
    exported_at: str | None = None
    format: str = FORMAT
    passage_layout: str | None = None
    #: The subject's own row: its speakers and how far it is compiled.
    subject: msgspec.Raw = msgspec.Raw(b"null")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line below the header: a row, or the end."""

    section: str | None = None
    row: msgspec.Raw = msgspec.Raw(b"")
    end: bool = False
    counts: dict[str, int] = {}
    checksum: str = ""


class Checksum:
    """SHA-256 of the canonical form of every row, each followed by a line break, in the order of the document.

    The canonical form is that of receipts (`pipelines.receipts.canonical`): white space, the order of keys and escapes
    make no difference.
    """

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, section: str, row: bytes) -> None:
        """Add the next row.

        Raises:
            BadRequest: when it is no JSON that could be stored.
        """
        try:
            self._hash.update(canonical_bytes([section, json.loads(row)]) + b"\n")
        except (ValueError, RecursionError) as ex:
            raise BadRequest(f"{section}: a row is no JSON: {type(ex).__name__}") from None

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def checksum_1_0(episodes: Iterable[Mapping[str, Any]], memories: Iterable[Mapping[str, Any]]) -> str:
    """The contract's: SHA-256 of what Python writes for {episodes, memories} with sorted keys and ASCII escapes."""
    hashed = sha256(b'{"episodes": [')
    for name, rows in (("episodes", episodes), ("memories", memories)):
        if name == "memories":
            hashed.update(b'], "memories": [')
        for number, row in enumerate(rows):
            hashed.update((", " if number else "").encode() + json.dumps(row, sort_keys=True).encode())
    hashed.update(b"]}")
    return hashed.hexdigest()
