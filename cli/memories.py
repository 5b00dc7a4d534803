"""`statewave memories restore`: takes a supersession back."""

from __future__ import annotations

import argparse
import getpass
import sys

from cli.database import operator_pool, show
from config.errors import StatewaveError

COLUMNS = {
    "memory": lambda row: row.id,
    "kind": lambda row: row.kind,
    "status": lambda row: row.status,
    "valid to": lambda row: row.valid_to or "",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("restore",), help="what to do")
    parser.add_argument("memory_id", help="id of the memory")
    parser.add_argument("--subject", required=True, metavar="ID", help="the subject that it is about")
    parser.add_argument("--tenant", default="", metavar="ID", help="its tenant (default: the default tenant)")
    parser.add_argument(
        "--instead", action="store_true", help="supersede the memory that took its place, so that one of them is active"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Make the memory active again."""
    from pipelines.restoration import restore_memory

    with operator_pool() as pool:
        try:
            restored = restore_memory(
                pool,
                arguments.tenant,
                arguments.subject,
                arguments.memory_id,
                instead=arguments.instead,
                actor=f"cli:{getpass.getuser()}",
            )
        except StatewaveError as ex:
            print(ex.message, file=sys.stderr)
            return 1
        show([restored], COLUMNS, as_json=arguments.json, nothing="")
    return 0
