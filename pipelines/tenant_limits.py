"""What each tenant's limits are, known to every request without a query of its own.

The limits of a tenant are read when its first request comes, and then again every few seconds in the background, those
of all tenants that are active here in one statement. A change takes effect within that time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import structlog

from config.clock import utcnow
from pipelines.tenant_config import TenantConfig, parse
from storage import usage
from storage.transactions import DATABASE_AWAY, Pool, operator_transaction
from storage.usage import Tally

log = structlog.get_logger()

#: Seconds for which limits hold when nothing refreshes them in the background.
STALE_SECONDS = 15.0

#: Seconds without a request after which a tenant is forgotten.
IDLE_SECONDS = 120.0

#: Seconds that a request waits for a connection to find out about limits, and after which it is tried again.
WAIT_SECONDS = 0.5
RETRY_SECONDS = 2.0


@dataclass(slots=True)
class Limits:
    """A tenant's configuration, and what it used in the month as far as that is written."""

    config: TenantConfig
    month: date
    used: Counter[str]
    read_at: float
    asked_at: float


class TenantLimits:
    """The limits of the tenants that are active in this process. Safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limits: dict[str, Limits] = {}

    def of(self, pool: Pool, tenant_id: str, *, now: datetime | None = None) -> Limits:
        """The tenant's limits. While the database is away those that were known, or none."""
        month = month_of(now or utcnow())
        known = self._limits.get(tenant_id)
        asked_at = self._clock()
        if known is not None:
            known.asked_at = asked_at
            if known.month == month and asked_at - known.read_at < STALE_SECONDS:
                return known
        try:
            self._read(pool, [tenant_id], month)
        except DATABASE_AWAY as ex:
            log.warning("limits of a tenant are not known", reason=type(ex).__name__)
            self._keep(tenant_id, month)
        return self._limits[tenant_id]

    def refresh(self, pool: Pool, *, now: datetime | None = None) -> None:
        """Read the limits of all active tenants again, and forget the others.

        Raises:
            psycopg.OperationalError: when the database is away; what was known stays known.
        """
        since = self._clock() - IDLE_SECONDS
        with self._lock:
            self._limits = {tenant: limits for tenant, limits in self._limits.items() if limits.asked_at > since}
            active = list(self._limits)
        if active:
            self._read(pool, active, month_of(now or utcnow()))

    def add(self, written: Mapping[Tally, int]) -> None:
        """Take note of use that has just been written."""
        with self._lock:
            for tally, quantity in written.items():
                limits = self._limits.get(tally.tenant_id)
                if limits is not None and limits.month == tally.day.replace(day=1):
                    limits.used[tally.meter] += quantity

    def _read(self, pool: Pool, tenants: Sequence[str], month: date) -> None:
        with operator_transaction(pool, wait_seconds=WAIT_SECONDS, everywhere=True) as conn:
            rows = usage.load_limits(conn, tenants, month=month, next_month=next_month(month))
        found = {row.tenant_id: row for row in rows}
        read_at = self._clock()
        with self._lock:
            for tenant in tenants:
                row, former = found.get(tenant), self._limits.get(tenant)
                self._limits[tenant] = Limits(
                    config=parse(row.tenant_config if row else None).config,
                    month=month,
                    used=Counter(row.used or {} if row else {}),
                    read_at=read_at,
                    asked_at=former.asked_at if former else read_at,
                )

    def _keep(self, tenant_id: str, month: date) -> None:
        asked_at = self._clock()
        with self._lock:
            known = self._limits.get(tenant_id)
            self._limits[tenant_id] = Limits(
                config=known.config if known else TenantConfig(),
                month=month,
                used=known.used if known and known.month == month else Counter(),
                read_at=asked_at - STALE_SECONDS + RETRY_SECONDS,
                asked_at=asked_at,
            )


def month_of(moment: datetime) -> date:
    """The first day of the month, in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(month: date) -> date:
    """The first day of the month after."""
    return (month + timedelta(days=31)).replace(day=1)
