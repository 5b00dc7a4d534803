"""`statewave erasures`: the ledger of erasures; keeping it apart, and applying it to a restored database."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cli.database import ago, show
from cli.invocation import shell_user
from cli.portable import portable_services
from config.errors import StatewaveError

#: Heading, and the text of an entry.
COLUMNS: dict[str, Any] = {
    "id": lambda entry: entry.id,
    "scope": lambda entry: entry.scope,
    "tenant": lambda entry: entry.tenant_id or "-",
    "subject": lambda entry: entry.subject_sha256.hex()[:16],
    "state": lambda entry: entry.state,
    "erased": lambda entry: ago(entry.erased_at),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "export", "apply"), default="list")
    parser.add_argument("file", nargs="?", type=Path, help="ledger to apply: one receipt per line")
    parser.add_argument("--tenant", dest="tenant_id", help="list those of one tenant")
    parser.add_argument("--limit", type=int, default=50, help="how many are listed at most (default: 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """List entries, write all receipts to standard output, or apply a ledger."""
    if (arguments.action == "apply") != (arguments.file is not None):
        print("apply needs a file, and nothing else does", file=sys.stderr)
        return 2
    with portable_services() as services:
        if arguments.action == "list":
            from pipelines.erasure_ledger import list_erasures

            page, _ = list_erasures(
                services,
                tenant_id=arguments.tenant_id,
                subject_id=None,
                state=None,
                cursor=None,
                limit=arguments.limit,
            )
            show(page, COLUMNS, as_json=arguments.json, nothing="nothing was erased")
            return 0
        from pipelines.erasure_reapply import export_ledger, reapply

        if arguments.action == "export":
            for line in export_ledger(services):
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return 0
        try:
            with arguments.file.open("rb") as lines:
                done = reapply(services, lines, by=shell_user())
        except (StatewaveError, OSError) as ex:
            print(ex, file=sys.stderr)
            return 1
    print(
        f"{done.receipts} receipts, {done.entered} of them new here:"
        f" {done.subjects_erased} subjects and {done.memories_erased} memories erased again"
    )
    for erasure_id in done.undecided:
        print(f"undecided: {erasure_id}: its subject has episodes that were recorded since", file=sys.stderr)
    return 0
