"""Requests per second and latency of a server that this starts for itself.

    python -m bench                        every scenario, about a minute
    python -m bench --only context search  those whose name contains one of the words
    python -m bench --json FILE --scale 0.1

It starts `statewave up` twice (to time a first and a second start), seeds 50 subjects with 40 two-message episodes
each, compiles them, and drives HTTP with 16 connections. Automatic compilation is off, because it would work on what
one scenario stored while the next is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bench.conversation import load_directory
from bench.load_results import LoadReport, ScenarioResult, memory_of, render, summarise
from bench.process_table import stack_processes
from bench.scenario import CONNECTIONS, Scenario
from bench.scenarios import Workload
from bench.stack import Stack, StackFailed, own_stack
from bench.statements import StatementCounter
from bench.wire import drive

#: A scenario ends after this time even when not all of its requests were sent.
SECONDS_AT_MOST = 15.0
#: Seeding may take longer than any scenario.
SEED_SECONDS_AT_MOST = 300.0

CONVERSATIONS = Path(__file__).parent / "conversations"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return its exit code: 0, 1 when answers were errors or the stack did not start."""
    options = _parser().parse_args(arguments)
    try:
        with own_stack(auto_compile_after_seconds="", log_level="WARNING") as stack:
            report = _measure(stack, options)
    except StackFailed as ex:
        print(ex, file=sys.stderr)
        return 1
    print(render(report))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 1 if any(result.errors for result in report.scenarios) else 0


def _measure(stack: Stack, options: argparse.Namespace) -> LoadReport:
    _say("starting the stack twice")
    stack.start()
    first_start_seconds = stack.start_seconds
    stack.stop()
    stack.start()
    workload = Workload(load_directory(CONVERSATIONS), host=urlsplit(stack.url).netloc)
    _say("seeding")
    _answered(stack, workload.seed())
    _answered(stack, workload.compile_seed())
    results = [
        _run(stack, scenario)
        for scenario in workload.all_scenarios(scale=options.scale)
        if not options.only or any(word in scenario.name for word in options.only)
    ]
    return LoadReport(
        connections=CONNECTIONS,
        cores=os.cpu_count() or 0,
        first_start_seconds=first_start_seconds,
        start_seconds=stack.start_seconds,
        scenarios=results,
        memory_mb=memory_of(stack_processes(stack.pid)),
    )


def _run(stack: Stack, scenario: Scenario) -> ScenarioResult:
    _say(scenario.name)
    _answered(stack, scenario.seed)
    _answered(stack, scenario.warm_up)
    statements = StatementCounter(stack).per_request(scenario.probes)
    measured = drive(stack.url, scenario.requests, connections=scenario.connections, seconds_at_most=SECONDS_AT_MOST)
    return summarise(scenario.name, measured, unit=scenario.unit, units=scenario.units, statements=statements)


def _answered(stack: Stack, requests: Sequence[bytes]) -> None:
    """Send requests whose speed does not matter but whose success does."""
    if not requests:
        return
    measured = drive(stack.url, requests, connections=4, seconds_at_most=SEED_SECONDS_AT_MOST)
    if measured.errors:
        raise StackFailed(f"preparing the measurement failed: {measured.failure}")


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Load benchmark on a stack of its own.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only scenarios whose name contains one of these")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of requests")
    return parser


if __name__ == "__main__":
    sys.exit(main())
