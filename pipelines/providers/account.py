"""Who pays for a provider call: tenant, subject and run, and the budget they have left.

Embedders and rerankers are asked deep inside of rules that know nothing of tenants, so who pays is set around them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import psycopg
import structlog

from config.clock import utcnow
from config.errors import Unavailable
from config.settings import Settings
from pipelines import provider_usage
from pipelines.providers.calls import Usage
from storage.provider_usage import Kind
from storage.transactions import DATABASE_AWAY, Connection, Pool, tenant_transaction

log = structlog.get_logger()


class BudgetExhausted(Unavailable):
    """The tenant's budget for model providers is spent until midnight UTC."""

    status = 429
    code = "budget_exhausted"


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. `to` is the connection of a transaction of the tenant, or a pool for transactions of their own."""

    to: Connection | Pool
    settings: Settings
    tenant_id: str
    subject_id: str | None = None
    run_id: UUID | None = None

    def check(self) -> None:
        """See whether there is budget left.

        Raises:
            BudgetExhausted: when there is none.
        """
        if isinstance(self.to, psycopg.Connection):
            state = provider_usage.check_budget(self.to, self.tenant_id, utcnow(), settings=self.settings)
        else:
            with tenant_transaction(self.to, self.tenant_id) as conn:
                state = provider_usage.check_budget(conn, self.tenant_id, utcnow(), settings=self.settings)
        if not state.is_allowed:
            left = (state.resets_at - utcnow()).total_seconds()
            raise BudgetExhausted(state.reason, retry_after=max(1, int(left)))

    def record(self, kind: Kind, usage: Usage, *, outcome: str) -> None:
        """Keep what a call cost. A database that is away costs the record, not the answer that was paid for."""
        try:
            provider_usage.record_call(
                self.to,
                tenant_id=self.tenant_id,
                subject_id=self.subject_id,
                run_id=self.run_id,
                kind=kind,
                provider=usage.provider,
                model=usage.model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=None if usage.cost_usd is None else Decimal(repr(usage.cost_usd)),
                latency_ms=usage.latency_ms,
                outcome=outcome,
            )
        except DATABASE_AWAY as ex:
            log.warning("call not recorded", model=usage.model, reason=type(ex).__name__)


_paying: ContextVar[Account | None] = ContextVar("paying", default=None)


def paying() -> Account | None:
    """Who pays for the calls made here; None for the installation itself, such as its probes."""
    return _paying.get()


@contextlib.contextmanager
def charged_to(account: Account) -> Iterator[None]:
    """Have provider calls within charged to the account."""
    token = _paying.set(account)
    try:
        yield
    finally:
        _paying.reset(token)
