"""`statewave schedules`: what happens at regular times, when it last did and when it next will."""

from __future__ import annotations

import argparse

from cli.database import ago, duration, operator_pool, show

COLUMNS = {
    "schedule": lambda row: row.name,
    "every": lambda row: duration(row.every_seconds),
    "missed ticks": lambda row: row.catch_up,
    "last tick (UTC)": lambda row: f"{row.last_tick:%Y-%m-%d %H:%M}" if row.last_tick else "-",
    "outcome": lambda row: row.last_run_state or row.last_outcome or "-",
    "next tick (UTC)": lambda row: f"{row.next_tick:%Y-%m-%d %H:%M}",
    "overdue": lambda row: "" if ago(row.next_tick).startswith("-") else ago(row.next_tick),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Show all schedules."""
    from pipelines import schedules

    with operator_pool() as pool:
        rows = schedules.list_schedules(pool)
    show(rows, COLUMNS, as_json=arguments.json, nothing="no scheduler has run yet")
    return 0
