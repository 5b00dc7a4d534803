"""How many statements a request sends to the database, counted by the database itself.

PostgreSQL logs every message that asks it to run something (`log_statement = all`) while a few requests are sent
one after another; the lines that this adds to its log are counted. Worker and scheduler are paused meanwhile, so
the statements are those of the API. Several statements sent in one message count once: it is one round trip.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import LiteralString

import psycopg

from bench.process_table import stack_processes
from bench.stack import Stack
from bench.wire import drive
from storage import embedded_postgres

#: Requests sent before counting, so that the connections of the API are open and its caches filled.
WARM_UP = 4

_STATEMENT = re.compile(rb" LOG:  (?:statement|execute [^:]*): ")
#: Time until PostgreSQL's processes have read a changed setting.
_RELOAD_SECONDS = 0.3


class StatementCounter:
    """Counts the statements of requests to one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._log = stack.data_dir / "logs" / "postgres.log"

    def per_request(self, requests: Sequence[bytes]) -> float:
        """Mean number of round trips to the database of the requests after the first few."""
        measured = requests[WARM_UP:]
        self._send(requests[:WARM_UP])
        with self._background_paused(), self._everything_logged():
            before = self._log.stat().st_size
            self._send(measured)
            time.sleep(_RELOAD_SECONDS)
            with self._log.open("rb") as log:
                log.seek(before)
                count = len(_STATEMENT.findall(log.read()))
        return count / len(measured)

    def _send(self, requests: Sequence[bytes]) -> None:
        drive(self._stack.url, requests, connections=1, seconds_at_most=60)

    @contextmanager
    def _everything_logged(self) -> Iterator[None]:
        self._configure("alter system set log_statement = 'all'")
        try:
            yield
        finally:
            self._configure("alter system reset log_statement")

    def _configure(self, change: LiteralString) -> None:
        address = embedded_postgres.url(self._stack.data_dir)
        with psycopg.connect(address, autocommit=True) as conn:
            conn.execute(change)
            conn.execute("select pg_reload_conf()")
        time.sleep(_RELOAD_SECONDS)

    @contextmanager
    def _background_paused(self) -> Iterator[None]:
        pids = [p.pid for p in stack_processes(self._stack.pid) if p.part in {"worker", "scheduler"}]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
