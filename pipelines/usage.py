"""Counting what tenants use, without a row that every request waits for.

Each process adds up in memory; `flush` writes the sums in one statement every few seconds and when the process stops.
A process that is killed loses what it counted since its last flush. Should the connection break in the very moment of
the commit, nobody knows whether it was written, and it is written again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Literal

from config.clock import utcnow
from storage import usage
from storage.transactions import Pool, operator_transaction
from storage.usage import Tally

#: What is counted. `contexts` are those of handoffs as well; `webhooks` are those delivered.
Meter = Literal[
    "requests", "episodes", "memories", "contexts", "searches", "tokens_delivered", "compile_jobs", "webhooks"
]


class Usage:
    """What this process counted and has not written yet. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: Counter[Tally] = Counter()
        #: Drained and on its way to the database.
        self._leaving: Mapping[Tally, int] = {}
        self._flushing = threading.Lock()

    def count(self, tenant_id: str, meter: Meter, quantity: int = 1, *, now: datetime | None = None) -> None:
        """Add to what the tenant used."""
        if quantity:
            tally = Tally(tenant_id, (now or utcnow()).astimezone(UTC).date(), meter)
            with self._lock:
                self._counted[tally] += quantity

    def unwritten(self, tenant_id: str, meter: Meter, month: date) -> int:
        """How much of a meter was counted here in a month and is not known to be written."""
        with self._lock:
            return sum(
                quantity
                for counted in (self._counted, self._leaving)
                for tally, quantity in counted.items()
                if tally.tenant_id == tenant_id and tally.meter == meter and tally.day.replace(day=1) == month
            )

    def flush(self, pool: Pool, *, written: Callable[[Mapping[Tally, int]], None]) -> None:
        """Write what was counted.

        Args:
            written: is told what was written, before it stops to count as unwritten.

        Raises:
            psycopg.OperationalError: when the database is away; nothing is lost then.
        """
        with self._flushing:
            with self._lock:
                self._leaving, self._counted = self._counted, Counter()
            if not self._leaving:
                return
            try:
                with operator_transaction(pool, everywhere=True) as conn:
                    usage.add(conn, self._leaving)
            except BaseException:
                with self._lock:
                    self._counted.update(self._leaving)
                    self._leaving = {}
                raise
            with self._lock:
                written(self._leaving)
                self._leaving = {}
