"""How much a tenant may use in a calendar month (UTC): `monthly_quotas` in its configuration.

What counts is what was written when limits were last read, and what this process counted since. Other processes may
have counted more in the last seconds, so a quota can be exceeded by what they do in that time.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time

import msgspec

from config.clock import utcnow
from config.errors import QuotaExceeded
from pipelines.services import Services
from pipelines.tenant_config import Quota
from pipelines.tenant_limits import next_month

#: Share of a quota from which on answers warn.
NEAR = 0.8


class QuotaStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant stands with one of its quotas."""

    meter: Quota
    limit: int
    used: int
    month: date
    now: datetime

    @property
    def remaining(self) -> int:
        return max(self.limit - self.used, 0)

    @property
    def is_near(self) -> bool:
        """Whether it is time to warn."""
        return self.used >= self.limit * NEAR

    @property
    def resets_at(self) -> datetime:
        """When the next month begins."""
        return datetime.combine(next_month(self.month), time(), UTC)

    @property
    def resets_in(self) -> int:
        """Whole seconds until then."""
        return math.ceil((self.resets_at - self.now).total_seconds())

    @property
    def month_seconds(self) -> int:
        """How long the month is."""
        return (next_month(self.month) - self.month).days * 86_400

    def after(self, quantity: int) -> QuotaStanding:
        """How the tenant stands when it uses so much more.

        Raises:
            QuotaExceeded: when it may not.
        """
        if self.used + quantity > self.limit:
            raise QuotaExceeded(
                f"the quota of {self.limit} {self.meter.replace('_', ' ')} a month allows no more than"
                f" {self.remaining}; it is renewed at {self.resets_at:%Y-%m-%dT%H:%MZ}",
                retry_after=self.resets_in,
            )
        return msgspec.structs.replace(self, used=self.used + quantity)


def quota_standing(
    services: Services, tenant_id: str, meter: Quota, *, now: datetime | None = None
) -> QuotaStanding | None:
    """How the tenant stands with a quota; None when it has none."""
    now = now or utcnow()
    limits = services.tenant_limits.of(services.pool, tenant_id, now=now)
    limit = (limits.config.monthly_quotas or {}).get(meter)
    if limit is None:
        return None
    # What is written meanwhile is counted twice for a moment, rather than not at all.
    unwritten = services.usage.unwritten(tenant_id, meter, limits.month)
    return QuotaStanding(
        meter=meter, limit=limit, used=limits.used[meter] + unwritten, month=limits.month, now=now.astimezone(UTC)
    )


def write_usage(services: Services) -> None:
    """Write what this process counted, and read the limits of active tenants again.

    Raises:
        psycopg.OperationalError: when the database is away; nothing is lost then.
    """
    services.usage.flush(services.pool, written=services.tenant_limits.add)
    services.tenant_limits.refresh(services.pool)
