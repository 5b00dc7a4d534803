"""Documents as they arrive: one JSON object, or JSON lines row by row. Checksums are checked on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from unicodedata import category

import msgspec

from config.errors import BadRequest
from pipelines.portability.document import (
    FORMAT,
    RECEIPTS,
    VERSION_1_0,
    VERSION_1_1,
    Checksum,
    Header,
    Line,
    checksum_1_0,
)
from storage.portability import SECTIONS

#: Bytes of a line: an episode of the largest payload fits.
LONGEST_LINE = 64 * 1024 * 1024

_decode_header = msgspec.json.Decoder(Header).decode
_decode_line = msgspec.json.Decoder(Line).decode


class Source(Protocol):
    """A document with its header read."""

    @property
    def header(self) -> Header: ...

    def rows(self) -> Iterator[tuple[str, bytes]]:
        """(section, row) one after the other.

        Raises:
            BadRequest: when the document breaks off, or its checksum does not match; at the latest after the last row.
        """


class WholeDocument:
    """A document that is one JSON object."""

    def __init__(self, document: dict[str, msgspec.Raw]) -> None:
        """
        Raises:
            BadRequest: when it is not one that this server reads, or its checksum does not match.
        """
        self._document = document
        self.header = _header(msgspec.json.encode(document))
        self._sections = {name: _rows(document, name) for name in (*SECTIONS, RECEIPTS) if name in document}
        if self.header.format_version == VERSION_1_0:
            self._sections = {name: self._sections.get(name, []) for name in ("episodes", "memories")}
        expected = msgspec.json.decode(document.get("checksum", b"null"))
        if not isinstance(expected, str) or expected != self._checksum():
            raise BadRequest("the checksum does not match: the document was changed or is incomplete")

    def rows(self) -> Iterator[tuple[str, bytes]]:
        """(section, row); of a document of version 1.0, compiled episodes before those that wait."""
        for name, section in self._sections.items():
            rows = [bytes(row) for row in section]
            if name == "episodes" and self.header.format_version == VERSION_1_0:
                rows.sort(key=_order_1_0)
            yield from ((name, row) for row in rows)

    def _checksum(self) -> str:
        if self.header.format_version == VERSION_1_0:
            try:
                episodes, memories = ([json.loads(bytes(row)) for row in rows] for rows in self._sections.values())
                return checksum_1_0(episodes, memories)
            except (ValueError, RecursionError) as ex:
                raise BadRequest(f"a row is no JSON: {type(ex).__name__}") from None
        checksum = Checksum()
        for name, section in self._sections.items():
            for row in section:
                checksum.add(name, bytes(row))
        return checksum.hexdigest()


class Lines:
    """Documents in JSON lines, one after the other."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = (line for line in lines if line.strip())
        self.header = Header(format_version=VERSION_1_1, subject_id="")

    def next_document(self) -> bool:
        """Read the header of the next document; False after the last.

        Raises:
            BadRequest: when it is none.
        """
        line = next(self._lines, None)
        if line is None:
            return False
        self.header = _header(line)
        if self.header.format_version != VERSION_1_1:
            raise BadRequest(f"JSON lines are of version {VERSION_1_1}")
        return True

    def rows(self) -> Iterator[tuple[str, bytes]]:
        checksum = Checksum()
        counts = dict.fromkeys(SECTIONS, 0)
        for text in self._lines:
            try:
                line = _decode_line(text)
            except msgspec.DecodeError as ex:
                raise BadRequest(f"line {sum(counts.values()) + 2} is not one of a document: {ex}") from None
            if line.end:
                if line.checksum != checksum.hexdigest() or line.counts != counts:
                    raise BadRequest("the checksum does not match: the document was changed or is incomplete")
                return
            if line.section is None or not bytes(line.row):
                raise BadRequest(f"line {sum(counts.values()) + 2} has neither a row nor the end")
            row = bytes(line.row)
            checksum.add(line.section, row)
            counts[line.section] = counts.get(line.section, 0) + 1
            yield line.section, row
        raise BadRequest("the document breaks off: its last line is missing")


def _order_1_0(row: bytes) -> tuple[bool, str]:
    episode = json.loads(row)
    if not isinstance(episode, dict):
        return False, ""
    return episode.get("last_compiled_at") is None, str(episode.get("created_at"))


def _header(text: bytes) -> Header:
    try:
        header = _decode_header(text)
    except msgspec.DecodeError as ex:
        raise BadRequest(f"not an exported subject: {ex}") from None
    if header.format != FORMAT:
        raise BadRequest(f"not an exported subject: its format is {header.format!r}")
    if header.format_version not in (VERSION_1_0, VERSION_1_1):
        raise BadRequest(f"version {header.format_version!r}; this server reads {VERSION_1_0} and {VERSION_1_1}")
    if not header.subject_id or not _is_name(header.subject_id) or not _is_name(header.tenant_id or ""):
        raise BadRequest("subject_id and tenant_id are up to 256 printable characters")
    return header


def _is_name(text: str) -> bool:
    return len(text) <= 256 and not any(category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def _rows(document: dict[str, msgspec.Raw], name: str) -> list[msgspec.Raw]:
    try:
        rows: Any = msgspec.json.decode(document[name], type=list[msgspec.Raw])
    except msgspec.DecodeError as ex:
        raise BadRequest(f"{name}: {ex}") from None
    return list(rows)
