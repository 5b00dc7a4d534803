"""`statewave queues`: what every queue holds; pausing and resuming one."""

from __future__ import annotations

import argparse

from cli.database import duration, operator_pool, show
from config.queues import QUEUES

COLUMNS = {
    "queue": lambda row: row.queue,
    "ready": lambda row: row.ready,
    "later": lambda row: row.scheduled,
    "running": lambda row: row.running,
    "dead": lambda row: row.dead,
    "quarantined": lambda row: row.quarantined,
    "oldest": lambda row: duration(row.oldest_age_seconds),
    "ended/min": lambda row: row.finished_last_minute,
    "": lambda row: f"paused {row.pause_reason}".strip() if row.paused else "",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    changes = parser.add_mutually_exclusive_group()
    changes.add_argument("--pause", choices=QUEUES, metavar="QUEUE", help="hand out nothing of this queue any more")
    changes.add_argument("--resume", choices=QUEUES, metavar="QUEUE", help="hand out again")
    parser.add_argument("--reason", default="", help="why it is paused, for whoever looks next")


def run(arguments: argparse.Namespace) -> int:
    """Change what was asked for, then show all queues."""
    from pipelines import operations

    with operator_pool() as pool:
        if arguments.pause:
            operations.pause_queue(pool, arguments.pause, reason=arguments.reason)
        if arguments.resume:
            operations.resume_queue(pool, arguments.resume)
        show(operations.list_queues(pool), COLUMNS, as_json=arguments.json, nothing="there are no queues")
    return 0
