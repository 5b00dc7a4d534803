"""`statewave export`: a subject, or all of a tenant, as JSON lines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cli.invocation import shell_user
from cli.portable import Meter, portable_services
from config.errors import StatewaveError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", nargs="?", help="subject id; without one, --all")
    parser.add_argument("--all", action="store_true", help="every subject of the tenant")
    parser.add_argument("--tenant", default="", metavar="ID", help="whose subject (default: the default tenant)")
    parser.add_argument("--receipts", action="store_true", help="with the receipts of what was delivered of it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Write the documents; progress goes to standard error."""
    from pipelines.portability.export import export_subject
    from storage import portability
    from storage.transactions import tenant_transaction

    if bool(arguments.subject) == arguments.all:
        print("name one subject, or say --all", file=sys.stderr)
        return 2
    with portable_services() as services:
        subjects = [arguments.subject]
        if arguments.all:
            with tenant_transaction(services.pool, arguments.tenant) as conn:
                subjects = portability.subject_ids(conn, arguments.tenant)
        # Under another name until it is whole: what breaks off must not look like a backup.
        part = arguments.output.with_name(arguments.output.name + ".part") if arguments.output else None
        out = part.open("wb") if part else sys.stdout.buffer
        meter = Meter()
        exported = 0
        try:
            for subject_id in subjects:
                try:
                    pieces = export_subject(
                        services,
                        arguments.tenant,
                        subject_id,
                        form="jsonl",
                        with_receipts=arguments.receipts,
                        by=shell_user(),
                        progress=meter.show,
                    )
                except StatewaveError as ex:
                    if arguments.all:
                        continue  # Erased since the list was made, or empty.
                    print(ex.message, file=sys.stderr)
                    return 1
                for piece in pieces:
                    out.write(piece)
                exported += 1
            out.flush()
        finally:
            if part:
                out.close()
        if part:
            part.rename(arguments.output)
    meter.done(f"{exported} subjects exported" if arguments.all else "exported")
    return 0
