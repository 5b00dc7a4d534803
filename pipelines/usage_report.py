"""What was used, for operators (contract: governance §9.1): the meters, the month's quotas, and what providers cost."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal

import msgspec

from config.clock import utcnow
from config.errors import ValidationFailed
from config.settings import Settings
from pipelines.provider_usage import budget_state, effective_budget
from pipelines.quotas import QuotaStanding
from pipelines.tenant_config import TenantConfig, parse
from pipelines.tenant_limits import month_of
from storage import provider_usage, usage
from storage.provider_usage import GroupBy, ProviderSums
from storage.subjects import HIDDEN_PREFIXES
from storage.transactions import Connection, Pool, operator_transaction
from storage.usage import Subjects, Windows


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How much: today (UTC), on the last 7 and 30 days up to today, and in all."""

    today: int
    last_7_days: int = msgspec.field(name="7d")
    last_30_days: int = msgspec.field(name="30d")
    total: int


class ActiveSubjects(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects with an episode within the last 7 and 30 days, and all of them."""

    last_7_days: int = msgspec.field(name="7d")
    last_30_days: int = msgspec.field(name="30d")
    total: int


class QuotaUse(msgspec.Struct, frozen=True, kw_only=True):
    """A quota of the month and what is left of it."""

    meter: str
    limit: int
    used: int
    remaining: int
    resets_at: datetime


class ProviderCost(msgspec.Struct, frozen=True, kw_only=True):
    """What calls to providers came to. `unpriced_calls` are missing in `cost_usd`: nobody knows what they cost."""

    key: str
    calls: int
    failed_calls: int
    unpriced_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    mean_latency_ms: int


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's budget of the day and what is spent of it; null where there is no limit."""

    limit_usd: float | None
    limit_tokens: int | None
    spent_usd: float
    spent_tokens: int
    exhausted: Literal["usd", "tokens"] | None
    resets_at: datetime


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What providers cost from one day to another, both included: in all, and by group."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    group_by: GroupBy
    total: ProviderCost
    groups: list[ProviderCost]
    #: Only when one tenant is asked for.
    budget: BudgetUse | None


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant used, or all of them. The period is the calendar month (UTC), in which quotas count."""

    period_start: datetime
    generated_at: datetime
    tenant_id: str | None
    episodes: Counted
    memories: Counted
    compile_jobs: Counted
    webhooks: Counted
    requests: Counted
    contexts: Counted
    searches: Counted
    tokens_delivered: Counted
    active_subjects: ActiveSubjects
    quotas: list[QuotaUse]
    providers: ProviderReport


class UsageQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Whose use, and of which days what providers cost; without days those of this month."""

    tenant_id: str | None = None
    first: date | None = None
    last: date | None = None
    group_by: GroupBy = "model"
    limit: int = 100


def usage_report(pool: Pool, settings: Settings, asked: UsageQuestion, *, now: datetime | None = None) -> UsageReport:
    """The report.

    Raises:
        ValidationFailed: when the first day is after the last.
    """
    now = (now or utcnow()).astimezone(UTC)
    month = month_of(now)
    last = asked.last or max(now.date(), asked.first or month)
    first = asked.first or min(month, last)
    if first > last:
        problem = "must not be before `from`"
        raise ValidationFailed(
            "the request is not valid: query.to",
            details=[{"loc": ["query", "to"], "msg": problem, "type": "out_of_range"}],
        )
    with operator_transaction(pool) as conn:
        windows = {row.meter: row for row in usage.windows(conn, tenant_id=asked.tenant_id, today=now.date())}
        subjects = usage.count_subjects(conn, tenant_id=asked.tenant_id, hidden=HIDDEN_PREFIXES, now=now)
        quotas, budget = _of_tenant(conn, settings, asked.tenant_id, windows, now)
        total = provider_usage.total(conn, tenant_id=asked.tenant_id, first=first, last=last)
        groups = provider_usage.grouped(
            conn, asked.group_by, tenant_id=asked.tenant_id, first=first, last=last, limit=asked.limit
        )
    return UsageReport(
        period_start=datetime(month.year, month.month, 1, tzinfo=UTC),
        generated_at=now,
        tenant_id=asked.tenant_id,
        # Of these `total` is what is stored, also where it was imported, and without what was erased.
        episodes=_counted(windows.get("episodes"), stored=subjects.episodes),
        memories=_counted(windows.get("memories"), stored=subjects.memories),
        compile_jobs=_counted(windows.get("compile_jobs")),
        webhooks=_counted(windows.get("webhooks")),
        requests=_counted(windows.get("requests")),
        contexts=_counted(windows.get("contexts")),
        searches=_counted(windows.get("searches")),
        tokens_delivered=_counted(windows.get("tokens_delivered")),
        active_subjects=_active(subjects),
        quotas=quotas,
        providers=ProviderReport(
            first=first,
            last=last,
            group_by=asked.group_by,
            total=_cost(total),
            groups=[_cost(group) for group in groups],
            budget=budget,
        ),
    )


def _of_tenant(
    conn: Connection, settings: Settings, tenant_id: str | None, windows: dict[str, Windows], now: datetime
) -> tuple[list[QuotaUse], BudgetUse | None]:
    if tenant_id is None:
        return [], None
    spent = provider_usage.spent_on(conn, tenant_id, now.date())
    config = parse(spent.tenant_config).config
    state = budget_state(effective_budget(settings, config), spent, now)
    budget = BudgetUse(
        limit_usd=None if state.budget.usd is None else float(state.budget.usd),
        limit_tokens=state.budget.tokens,
        spent_usd=float(state.spent_usd),
        spent_tokens=state.spent_tokens,
        exhausted=state.exhausted,
        resets_at=state.resets_at,
    )
    return _quotas(config, windows, now), budget


def _quotas(config: TenantConfig, windows: dict[str, Windows], now: datetime) -> list[QuotaUse]:
    standings = [
        QuotaStanding(
            meter=meter,
            limit=limit,
            used=windows[meter].month if meter in windows else 0,
            month=month_of(now),
            now=now,
        )
        for meter, limit in (config.monthly_quotas or {}).items()
    ]
    return [
        QuotaUse(
            meter=standing.meter,
            limit=standing.limit,
            used=standing.used,
            remaining=standing.remaining,
            resets_at=standing.resets_at,
        )
        for standing in standings
    ]


def _counted(windows: Windows | None, *, stored: int | None = None) -> Counted:
    counted = windows or Windows(meter="", today=0, last_7_days=0, last_30_days=0, month=0, total=0)
    return Counted(
        today=counted.today,
        last_7_days=counted.last_7_days,
        last_30_days=counted.last_30_days,
        total=counted.total if stored is None else stored,
    )


def _active(subjects: Subjects) -> ActiveSubjects:
    return ActiveSubjects(last_7_days=subjects.last_7_days, last_30_days=subjects.last_30_days, total=subjects.total)


def _cost(sums: ProviderSums) -> ProviderCost:
    return ProviderCost(
        key=sums.key,
        calls=sums.calls,
        failed_calls=sums.failed_calls,
        unpriced_calls=sums.unpriced_calls,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=float(sums.cost_usd),
        mean_latency_ms=round(sums.latency_ms / sums.calls) if sums.calls else 0,
    )
