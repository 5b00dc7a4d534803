"""`statewave import`: documents that `statewave export` or `GET /admin/export` made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cli.invocation import shell_user
from cli.portable import Meter, portable_services
from config.errors import StatewaveError

if TYPE_CHECKING:
    from pipelines.portability.importing import Imported, Wishes
    from pipelines.services import Services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="+", help="JSON lines or one JSON document; - is standard input")
    parser.add_argument("--tenant", metavar="ID", help="tenant they go to (default: the one they came from)")
    parser.add_argument("--new-ids", action="store_true", help="give new ids, the same ones every time")
    parser.add_argument(
        "--include-erased", action="store_true", help="take in also what was erased, which is otherwise left out"
    )


def run(arguments: argparse.Namespace) -> int:
    """Take in every document of every file; each is taken in wholly or not at all."""
    from pipelines.portability.importing import Wishes

    wishes = Wishes(
        target_tenant_id=arguments.tenant,
        preserve_ids=not arguments.new_ids,
        include_erased=arguments.include_erased,
        by=shell_user(),
    )
    meter = Meter()
    failed = False
    with portable_services() as services:
        for path in arguments.file:
            try:
                with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
                    for done in _documents(services, file, wishes, meter):
                        meter.done(_told(done))
            except (StatewaveError, OSError) as ex:
                meter.done(f"{path}: {(ex.strerror if isinstance(ex, OSError) else None) or ex}")
                failed = True
    return int(failed)


def _documents(services: Services, file: BinaryIO, wishes: Wishes, meter: Meter) -> Iterator[Imported]:
    import msgspec

    from config.errors import BadRequest
    from pipelines.portability.importing import import_document
    from pipelines.portability.reading import Lines, WholeDocument

    first = file.readline()
    if b'"episodes"' in first[:4096] or not first.rstrip().endswith(b"}"):
        try:
            document = msgspec.json.decode(first + file.read(), type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as ex:
            raise BadRequest(f"not an exported subject: {ex}") from None
        yield import_document(services, WholeDocument(document), wishes, progress=meter.show)
        return
    lines = Lines(_with(first, file))
    while lines.next_document():
        yield import_document(services, lines, wishes, progress=meter.show)


def _with(first: bytes, rest: BinaryIO) -> Iterator[bytes]:
    yield first
    yield from rest


def _told(done: Imported) -> str:
    parts = [f"{done.subject_id}: {done.episodes_imported} episodes and {done.memories_imported} memories imported"]
    if done.unchanged:
        parts.append(f"{done.unchanged} rows were there")
    if done.skipped_erased:
        parts.append(f"{done.skipped_erased} rows left out because they were erased")
    if done.receipts_left_out:
        parts.append(f"{done.receipts_left_out} receipts are evidence and stay in the file")
    if done.indexing:
        parts.append("a worker makes their passages")
    return ", ".join(parts)
