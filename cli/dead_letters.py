"""`statewave dead-letters`: runs that failed for good; trying them again, or letting go of them."""

from __future__ import annotations

import argparse
import sys

from cli.database import operator_pool, show
from cli.run_arguments import COLUMNS, add_filter, filter_of, names_some
from config.errors import StatewaveError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", choices=("list", "retry", "purge"), default="list", help="what to do (default: list)"
    )
    add_filter(parser)
    parser.add_argument("--all", action="store_true", help="let go of all of them: `purge` asks for a filter otherwise")
    parser.add_argument("--limit", type=int, default=50, help="how many are listed at most (default: 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """List, retry or purge the dead letters that the filter means."""
    from pipelines import operations

    which = filter_of(arguments, states=("failed",))
    if arguments.action == "purge" and not (arguments.all or names_some(which)):
        asked = "name those to let go of by --kind, --queue, --tenant, --subject or --quarantined, or say --all"
        print(asked, file=sys.stderr)
        return 2
    with operator_pool() as pool:
        try:
            if arguments.action == "retry":
                print(f"{operations.retry_dead_letters(pool, which)} runs are due again")
            elif arguments.action == "purge":
                print(f"{operations.purge_finished(pool, which)} runs deleted")
            else:
                page, _ = operations.list_runs(pool, which, cursor=None, limit=arguments.limit)
                show(page, COLUMNS, as_json=arguments.json, nothing="no dead letters")
        except StatewaveError as ex:
            print(ex.message, file=sys.stderr)
            return 1
    return 0
