"""`statewave usage`: a table for people, one object for programs."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from cli.main import main
from config.clock import utcnow
from pipelines.provider_usage import record_call
from pipelines.quotas import write_usage
from pipelines.services import Services
from storage import tenant_configs
from storage.transactions import operator_transaction


@pytest.fixture
def shell(services: Services, database: str, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A database that the command finds, with something used."""
    monkeypatch.setenv("STATEWAVE_DATABASE_URL", database)
    services.usage.count("acme", "contexts", 1234)
    write_usage(services)
    with operator_transaction(services.pool) as conn:
        tenant_configs.change(conn, "acme", {"monthly_quotas": {"contexts": 2000}, "llm_daily_budget_usd": 0.2})
    for cost in (Decimal("0.25"), None):
        record_call(
            services.pool,
            tenant_id="acme",
            kind="completion",
            provider="openai",
            model="gpt-4o-mini",
            input_tokens=1000,
            output_tokens=50,
            cost_usd=cost,
            latency_ms=400,
            at=utcnow(),
        )
    return services


def test_everybodys_use_is_a_table(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage"]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert shown.startswith("Used by all tenants, ")
    assert ["contexts", "1234", "1234", "1234", "1234"] in lines
    assert ["gpt-4o-mini", "2", "0", "2000", "100", "0.2500", "+", "1", "unpriced", "400"] in lines
    assert "quota" not in shown and "budget" not in shown


def test_a_tenants_use_comes_with_its_quotas_and_budget(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--tenant", "acme", "--by", "day"]) == 0
    shown = capsys.readouterr().out
    assert "quota of contexts this month: 1234 of 2000" in shown
    assert "budget of today: 0.2500 of 0.2 USD, exhausted until " in shown
    assert main(["usage", "--tenant", ""]) == 0
    shown = capsys.readouterr().out
    assert "tenant (default)" in shown and "no calls" in shown


def test_the_whole_report_is_one_object(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--json", "--by", "tenant"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["contexts"]["7d"] == 1234
    assert report["providers"]["groups"][0]["key"] == "acme"


def test_days_in_the_wrong_order_are_refused(shell: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--from", "2026-03-14", "--to", "2026-03-13"]) == 1
    assert "after the last" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["usage", "--from", "yesterday"])
