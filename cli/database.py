"""The database for commands that work on it directly, and their two ways of printing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from cli.invocation import command_line, shell_user
from cli.process import connected_database
from config.settings import load_settings
from storage.children import StartFailed
from storage.transactions import Pool, open_pool


@contextmanager
def operator_pool() -> Iterator[Pool]:
    """One connection to the database that the settings name, or that of a running `statewave up`.

    What is changed over it is recorded in the audit log, with the command line and who sat at the shell.

    Raises:
        StartFailed: when there is none, or it does not answer.
    """
    import psycopg

    from pipelines import audit

    url = connected_database(load_settings())
    try:
        pool = open_pool(url, size=1)
    except psycopg.OperationalError as ex:
        raise StartFailed(f"the database does not answer: {ex}") from ex
    asked = command_line.get()
    with (
        pool,
        audit.acting(
            actor=shell_user(),
            action=f"statewave {asked[0] if asked else ''}".rstrip(),
            tenant_id=None,
            details={"arguments": list(asked[1:])},
        ),
    ):
        yield pool


def show(rows: Sequence[Any], columns: dict[str, Any], *, as_json: bool, nothing: str) -> None:
    """Print rows as a table of `columns` (heading to text of a row), or all of their fields as JSON, one per line."""
    if as_json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    if not rows:
        print(nothing)
        return
    lines = [list(columns), *([str(text(row)) for text in columns.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def ago(moment: datetime | None) -> str:
    """How long ago something was, for people."""
    return "-" if moment is None else duration((datetime.now(UTC) - moment).total_seconds())


def duration(seconds: float | None) -> str:
    """Seconds in the largest unit that fits; those of the future with a minus."""
    if seconds is None:
        return "-"
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{sign}{seconds / size:.0f}{unit}"
    return f"{sign}{seconds:.1f}s" if seconds < 10 else f"{sign}{seconds:.0f}s"
