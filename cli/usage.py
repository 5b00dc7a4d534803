"""`statewave usage`: what tenants used, and what model providers cost."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from cli.database import operator_pool, show
from config.errors import StatewaveError
from config.settings import load_settings
from storage.provider_usage import GroupBy

if TYPE_CHECKING:
    from pipelines.usage_report import UsageReport

#: Meters, in the order in which they are shown.
METERS = (
    "requests",
    "episodes",
    "memories",
    "compile_jobs",
    "contexts",
    "tokens_delivered",
    "searches",
    "webhooks",
)

COSTS: dict[str, Any] = {
    "calls": lambda cost: cost.calls,
    "failed": lambda cost: cost.failed_calls,
    "input tokens": lambda cost: cost.input_tokens,
    "output tokens": lambda cost: cost.output_tokens,
    "USD": lambda cost: f"{cost.cost_usd:.4f}" + (f" + {cost.unpriced_calls} unpriced" if cost.unpriced_calls else ""),
    "mean ms": lambda cost: cost.mean_latency_ms,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", dest="tenant_id", help="only this tenant; '' is the default tenant")
    parser.add_argument("--from", dest="first", type=_day, metavar="DAY", help="first day of what providers cost")
    parser.add_argument("--to", dest="last", type=_day, metavar="DAY", help="last day (default: today)")
    parser.add_argument("--by", choices=get_args(GroupBy), default="model", help="what costs are summed by")
    parser.add_argument("--limit", type=int, default=20, help="groups at most (default: 20)")
    parser.add_argument("--json", action="store_true", help="the whole report as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the report."""
    from pipelines.usage_report import UsageQuestion, usage_report

    asked = UsageQuestion(
        tenant_id=arguments.tenant_id,
        first=arguments.first,
        last=arguments.last,
        group_by=arguments.by,
        limit=arguments.limit,
    )
    with operator_pool() as pool:
        try:
            report = usage_report(pool, load_settings(), asked)
        except StatewaveError:
            print("the first day is after the last", file=sys.stderr)
            return 1
    if arguments.json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report)
    return 0


def _print(report: UsageReport) -> None:
    whose = "all tenants" if report.tenant_id is None else f"tenant {report.tenant_id or '(default)'}"
    print(f"Used by {whose}, {report.generated_at:%Y-%m-%d %H:%M} UTC\n")
    rows = [(name, getattr(report, name)) for name in METERS]
    columns = {
        "": lambda row: row[0].replace("_", " "),
        "today": lambda row: row[1].today,
        "7 days": lambda row: row[1].last_7_days,
        "30 days": lambda row: row[1].last_30_days,
        "total": lambda row: row[1].total,
    }
    show(rows, columns, as_json=False, nothing="")
    active = report.active_subjects
    print(f"\nactive subjects: {active.last_7_days} in 7 days, {active.last_30_days} in 30, {active.total} in all")
    for quota in report.quotas:
        print(f"quota of {quota.meter.replace('_', ' ')} this month: {quota.used} of {quota.limit}")
    _print_costs(report)


def _print_costs(report: UsageReport) -> None:
    providers = report.providers
    print(f"\nModel providers, {providers.first} to {providers.last}\n")
    if not providers.total.calls:
        print("no calls")
    else:
        total = msgspec.structs.replace(providers.total, key="all")
        columns = {providers.group_by: lambda cost: cost.key or "(default)", **COSTS}
        show([*providers.groups, total], columns, as_json=False, nothing="")
    budget = providers.budget
    if budget is not None and (budget.limit_usd is not None or budget.limit_tokens is not None):
        limits = [f"{budget.spent_usd:.4f} of {budget.limit_usd:g} USD"] if budget.limit_usd is not None else []
        limits += [f"{budget.spent_tokens} of {budget.limit_tokens} tokens"] if budget.limit_tokens is not None else []
        state = f", exhausted until {budget.resets_at:%Y-%m-%d %H:%M} UTC" if budget.exhausted else ""
        print(f"\nbudget of today: {', '.join(limits)}{state}")


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a day such as 2026-03-14") from None
