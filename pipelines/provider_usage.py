"""What calls to model providers cost, and the daily budgets that stop them.

Whoever calls a provider asks `check_budget` before and tells `record_call` after, also of failures: most providers
charge for tokens of answers that turned out to be useless. A budget is checked against what has been recorded, so
calls that are under way at the same time can exceed it by what they cost themselves.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec
import psycopg

from config.clock import utcnow
from config.ids import uuid7
from config.settings import Settings
from pipelines.tenant_config import TenantConfig, parse
from storage import provider_usage
from storage.provider_usage import Kind, ProviderCall
from storage.transactions import Connection, Pool, tenant_transaction


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant may spend on providers in a day (UTC). None is no limit; zero allows nothing."""

    usd: Decimal | None = None
    tokens: int | None = None


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant stands with its budget. When it is exhausted, it is so until `resets_at`, the next midnight UTC."""

    budget: Budget
    spent_usd: Decimal
    spent_tokens: int
    exhausted: Literal["usd", "tokens"] | None
    resets_at: datetime

    @property
    def is_allowed(self) -> bool:
        """Whether providers may be called."""
        return self.exhausted is None

    @property
    def reason(self) -> str:
        """Why not, in one sentence for logs and runs; empty when they may."""
        if self.exhausted is None:
            return ""
        in_money = self.exhausted == "usd"
        limit = f"{self.budget.usd} USD" if in_money else f"{self.budget.tokens} tokens"
        spent = f"{self.spent_usd:.4f} USD" if in_money else f"{self.spent_tokens} tokens"
        renewed = f"{self.resets_at:%Y-%m-%dT%H:%MZ}"
        return f"the daily budget of {limit} is exhausted ({spent} spent); it is renewed at {renewed}"


def record_call(
    to: Connection | Pool,
    *,
    tenant_id: str,
    kind: Kind,
    provider: str,
    model: str,
    input_tokens: int,
    output_tokens: int,
    cost_usd: Decimal | None,
    latency_ms: int,
    outcome: str = provider_usage.OK,
    subject_id: str | None = None,
    run_id: UUID | None = None,
    at: datetime | None = None,
) -> ProviderCall:
    """Keep one call and add it to the sums.

    Args:
        to: a pool, for a transaction of its own that no rollback of the work undoes: the money is spent. Or the
            connection of a transaction that sees the tenant.
        cost_usd: None when nobody knows the price.
        outcome: `ok`, or what went wrong, such as `timeout` or `rate_limited`.

    Returns:
        What was recorded.
    """
    call = ProviderCall(
        id=uuid7(),
        tenant_id=tenant_id,
        subject_id=subject_id,
        run_id=run_id,
        kind=kind,
        provider=provider,
        model=model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd,
        latency_ms=latency_ms,
        outcome=outcome,
        at=at or utcnow(),
    )
    if isinstance(to, psycopg.Connection):
        provider_usage.record_calls(to, [call])
        return call
    with tenant_transaction(to, tenant_id) as conn:
        provider_usage.record_calls(conn, [call])
    return call


def check_budget(conn: Connection, tenant_id: str, now: datetime, *, settings: Settings) -> BudgetState:
    """Whether the tenant may still call providers today, in one statement. Whoever is refused goes on without them.

    What the tenant's configuration says of `llm_daily_budget_usd` or `llm_daily_budget_tokens` counts instead of the
    setting of that name.
    """
    now = now.astimezone(UTC)
    spent = provider_usage.spent_on(conn, tenant_id, now.date())
    return budget_state(effective_budget(settings, parse(spent.tenant_config).config), spent, now)


def effective_budget(settings: Settings, config: TenantConfig) -> Budget:
    """The tenant's own limits, else those of the settings."""
    usd, tokens = config.llm_daily_budget_usd, config.llm_daily_budget_tokens
    return Budget(
        # Through its text: 0.1 means a tenth, not the float that is nearest to it.
        usd=settings.llm_daily_budget_usd if usd is None else Decimal(str(usd)),
        tokens=settings.llm_daily_budget_tokens if tokens is None else tokens,
    )


def budget_state(budget: Budget, spent: provider_usage.Spent, now: datetime) -> BudgetState:
    """The rule: a budget is exhausted when what was spent has reached it."""
    exhausted: Literal["usd", "tokens"] | None = None
    if budget.usd is not None and spent.usd >= budget.usd:
        exhausted = "usd"
    elif budget.tokens is not None and spent.tokens >= budget.tokens:
        exhausted = "tokens"
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return BudgetState(
        budget=budget, spent_usd=spent.usd, spent_tokens=spent.tokens, exhausted=exhausted, resets_at=midnight
    )
