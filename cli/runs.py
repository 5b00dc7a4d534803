"""`statewave runs`: the newest runs, one run with its history, retrying and cancelling one."""

from __future__ import annotations

import argparse
import sys

import msgspec

from cli.database import operator_pool, show
from cli.run_arguments import COLUMNS, STATES, add_filter, filter_of, run_id
from config.errors import StatewaveError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES)
    add_filter(parser)
    parser.add_argument("--limit", type=int, default=50, help="how many at most (default: 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--show", type=run_id, metavar="ID", help="one run with its stages, attempts and errors")
    one.add_argument("--retry", type=run_id, metavar="ID", help="make a failed or cancelled run due again")
    one.add_argument("--cancel", type=run_id, metavar="ID", help="end a run that is not finished")


def run(arguments: argparse.Namespace) -> int:
    """Show runs, or do something to one and show it."""
    from pipelines import operations

    ways = {"show": operations.show_run, "retry": operations.retry_run, "cancel": operations.cancel_run}
    with operator_pool() as pool:
        for name, act in ways.items():
            if chosen := getattr(arguments, name):
                try:
                    print(msgspec.json.format(msgspec.json.encode(act(pool, chosen)), indent=2).decode())
                except StatewaveError as ex:
                    print(ex.message, file=sys.stderr)
                    return 1
                return 0
        which = filter_of(arguments, states=(arguments.state,) if arguments.state else None)
        page, more = operations.list_runs(pool, which, cursor=None, limit=arguments.limit)
    show(page, COLUMNS, as_json=arguments.json, nothing="no such runs")
    if more and not arguments.json:
        print(f"(there are more; --limit {arguments.limit * 10} shows them)")
    return 0
