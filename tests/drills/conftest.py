"""Fault drills: the real stack, real faults, exact counts.

Each drill runs twice: in a short form with all other tests, and in its long form by `make drill`, which prints what
every drill did and found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate
from tests.drills.report import Report
from tests.fixtures.databases import TEMPLATE
from tests.fixtures.stack import RunningStack, start_stack

#: Seconds until a dead worker's runs are taken over, in drills that wait for it. In all others leases last so long
#: that a machine which is busy with something else never makes a living worker look dead.
SHORT_LEASE_SECONDS = "3"
LEASE_SECONDS = "60"

#: Seconds of silence until a subject is compiled.
QUIET_SECONDS = "0.3"


@pytest.fixture(params=[pytest.param("short"), pytest.param("long", marks=pytest.mark.drill)])
def form(request: pytest.FixtureRequest) -> str:
    """Which form of the drill this is."""
    return str(request.param)


@pytest.fixture(scope="session")
def drill_postgres(servers_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A database server of the drills' own, which they may stop."""
    server = EmbeddedPostgres(servers_dir / "drills", durable=False)
    server.start()
    with psycopg.connect(server.url("postgres"), autocommit=True) as conn:
        conn.execute(f"create database {TEMPLATE}")
    migrate(server.url(TEMPLATE))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def drill_stack(drill_postgres: EmbeddedPostgres, servers_dir: Path) -> Iterator[RunningStack]:
    """The stack that is broken and put right again by one drill after the other."""
    from contextlib import contextmanager

    @contextmanager
    def database() -> Iterator[str]:
        yield drill_postgres.url(TEMPLATE)

    with start_stack(
        database,
        servers_dir / "drills",
        lease_seconds=LEASE_SECONDS,
        auto_compile_after_seconds=QUIET_SECONDS,
        webhook_allow_private="true",
        webhook_timeout="2",
        log_level="WARNING",
    ) as stack:
        yield stack


@pytest.fixture
def stack(drill_stack: RunningStack) -> Iterator[RunningStack]:
    """The stack, whole before and after: whatever a drill ended is started again."""
    yield drill_stack
    for name, child in list(drill_stack.processes.items()):
        if name not in ("api", "worker", "scheduler"):
            child.stop()
            del drill_stack.processes[name]
        elif not child.is_running:
            drill_stack.restart(name)
    if not drill_stack.redis.answers():
        drill_stack.redis.start()
    drill_stack.wait_ready()


@pytest.fixture
def short_leases(stack: RunningStack) -> Iterator[None]:
    """For drills in which workers die: their successors need not wait for a minute."""
    stack.environ["STATEWAVE_LEASE_SECONDS"] = SHORT_LEASE_SECONDS
    stack.restart("worker")
    yield
    stack.environ["STATEWAVE_LEASE_SECONDS"] = LEASE_SECONDS
    stack.restart("worker")


@pytest.fixture
def report(request: pytest.FixtureRequest, form: str) -> Report:
    """Figures of this drill, for the table at the end."""
    report = Report(drill=request.node.name.removeprefix("test_").partition("[")[0].replace("_", " "))
    if form == "long":
        request.config.stash.setdefault(_REPORTS, []).append(report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Drills come after all other tests, whose stack is idle by then."""
    items.sort(key=lambda item: Path(__file__).parent in item.path.parents)


_REPORTS = pytest.StashKey[list[Report]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    reports = config.stash.get(_REPORTS, [])
    if reports:
        terminalreporter.section("drills")
        for report in reports:
            terminalreporter.write_line(report.line())
