"""`statewave doctor`: one line per check, with the remedy under what fails."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator

from cli.checks import Check, failed, installation, machine, passed
from cli.process import require_files
from config.settings import ConfigurationError, load_settings

COLOURS = {"ok": 32, "fail": 31, "skipped": 33}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the checks as a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Run all checks; 1 when any fails."""
    is_healthy = True
    done = []
    for check in all_checks():
        is_healthy = is_healthy and check.status != "fail"
        done.append(check)
        if not arguments.json:
            print(render(check, coloured=sys.stdout.isatty()), flush=True)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(check) for check in done], indent=2))
    return 0 if is_healthy else 1


def all_checks() -> Iterator[Check]:
    """Every check in the order of what depends on what; without usable settings, only those that need none."""
    yield from installation()
    try:
        settings = load_settings()
        require_files(settings)
    except ConfigurationError as ex:
        for problem in ex.problems:
            name, _, remedy = problem.partition(": ")
            yield failed("settings", name, remedy)
        return
    yield passed("settings", "valid")
    yield from machine(settings)

    from cli.server_checks import broker, database

    yield from database(settings)
    yield from broker(settings)


def render(check: Check, *, coloured: bool) -> str:
    """The check as a line, with a second one for its remedy."""
    status = f"{check.status:<8}"
    if coloured:
        status = f"\x1b[{COLOURS[check.status]}m{status}\x1b[0m"
    line = f"{status}{check.name:<20}{check.detail}"
    return line if check.remedy is None else f"{line}\n{'':<8}{'':<20}→ {check.remedy}"
