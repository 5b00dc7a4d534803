"""What calls to providers cost is kept and summed, and a budget stops them."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.clock import utcnow
from config.settings import ConfigurationError, Settings, load_settings
from pipelines import retention
from pipelines.provider_usage import Budget, budget_state, check_budget, record_call
from pipelines.services import Services
from storage import provider_usage, subjects, tenant_configs
from storage.provider_usage import GroupBy, ProviderCall, ProviderSums, Spent
from storage.transactions import Connection, Pool, operator_transaction, tenant_transaction

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
DAY = NOON.date()


def record(to: Pool | Connection, tenant_id: str = "acme", **fields: Any) -> ProviderCall:
    given: dict[str, Any] = {
        "kind": "completion",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_usd": Decimal("0.01"),
        "latency_ms": 200,
        "at": NOON,
    }
    return record_call(to, tenant_id=tenant_id, **{**given, **fields})


def groups(
    pool: Pool, by: GroupBy, tenant_id: str | None = None, first: date = DAY, last: date = DAY
) -> dict[str, ProviderSums]:
    with operator_transaction(pool) as conn:
        rows = provider_usage.grouped(conn, by, tenant_id=tenant_id, first=first, last=last, limit=100)
    return {row.key: row for row in rows}


def total(pool: Pool, tenant_id: str | None = None, first: date = DAY, last: date = DAY) -> ProviderSums:
    with operator_transaction(pool) as conn:
        return provider_usage.total(conn, tenant_id=tenant_id, first=first, last=last)


def test_a_call_is_kept_as_it_was_told(pool: Pool) -> None:
    told = record(pool, subject_id="ada", run_id=uuid4(), outcome="timeout", cost_usd=Decimal("0.000000123"))
    with tenant_transaction(pool, "acme") as conn:
        row = conn.execute(
            "select id, subject_id, run_id, outcome, cost_usd, latency_ms, at from provider_calls"
        ).fetchone()
    assert row == (told.id, "ada", told.run_id, "timeout", Decimal("0.000000123"), 200, NOON)


def test_calls_are_summed_per_model_tenant_subject_run_and_day(pool: Pool) -> None:
    run = uuid4()
    record(pool, subject_id="ada", run_id=run)
    record(pool, subject_id="ada", run_id=run, model="gpt-4o", cost_usd=Decimal("0.5"))
    record(pool, subject_id="bob", cost_usd=None, outcome="rate_limited")
    record(pool, "globex", kind="embedding", model="embed-3", output_tokens=0, at=NOON + timedelta(days=1))

    def cost(by: GroupBy) -> dict[str, Decimal]:
        return {key: row.cost_usd for key, row in groups(pool, by, last=DAY + timedelta(days=1)).items()}

    cent = Decimal("0.01")
    assert cost("model") == {"gpt-4o": Decimal("0.5"), "gpt-4o-mini": cent, "embed-3": cent}
    assert cost("tenant") == {"acme": Decimal("0.51"), "globex": cent}
    assert cost("subject") == {"ada": Decimal("0.51"), "bob": Decimal(0)}
    assert cost("run") == {str(run): Decimal("0.51")}
    assert cost("day") == {"2026-03-14": Decimal("0.51"), "2026-03-15": cent}
    bob = groups(pool, "subject")["bob"]
    assert (bob.calls, bob.failed_calls, bob.unpriced_calls, bob.input_tokens, bob.latency_ms) == (1, 1, 1, 100, 200)
    assert total(pool, "acme").calls == 3
    assert list(groups(pool, "model", "globex", last=DAY + timedelta(days=1))) == ["embed-3"]


def test_days_begin_at_midnight_utc_wherever_the_call_was_made(pool: Pool) -> None:
    india = datetime.fromisoformat("2026-03-15T05:29:59+05:30")
    record(pool, at=india)
    record(pool, at=india + timedelta(seconds=1))
    assert {day: row.calls for day, row in groups(pool, "day", last=DAY + timedelta(days=1)).items()} == {
        "2026-03-14": 1,
        "2026-03-15": 1,
    }
    assert total(pool, first=DAY, last=DAY).calls == 1


def test_the_work_may_be_rolled_back_but_the_money_is_spent(pool: Pool) -> None:
    with tenant_transaction(pool, "acme") as conn:
        record(pool, subject_id="through the pool")
        record(conn, subject_id="with the work")
        conn.execute("rollback")
    assert list(groups(pool, "subject")) == ["through the pool"]
    assert total(pool).calls == 1


def test_calls_that_end_together_are_all_counted(pool: Pool) -> None:
    def work() -> None:
        for _ in range(20):
            record(pool, subject_id="ada")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(pool).calls == groups(pool, "subject")["ada"].calls == 80
    assert total(pool).cost_usd == Decimal("0.80")


calls = st.lists(
    st.builds(
        ProviderCall,
        id=st.uuids(version=4),
        tenant_id=st.just(""),
        subject_id=st.none() | st.sampled_from(["ada", "bob"]),
        run_id=st.none(),
        kind=st.sampled_from(["completion", "embedding", "rerank"]),
        provider=st.sampled_from(["openai", "vllm"]),
        model=st.sampled_from(["large", "small"]),
        input_tokens=st.integers(0, 10**6),
        output_tokens=st.integers(0, 10**6),
        cost_usd=st.none() | st.decimals(0, 100, places=8),
        latency_ms=st.integers(0, 10**6),
        outcome=st.sampled_from(["ok", "timeout"]),
        at=st.datetimes(datetime(2026, 3, 13), datetime(2026, 3, 16), timezones=st.just(UTC)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=calls)
def test_the_sums_are_those_of_the_calls(shared_pool: Pool, told: list[ProviderCall]) -> None:
    tenant_id = f"sums-{uuid4()}"
    own = [ProviderCall(**{**_fields(call), "tenant_id": tenant_id, "id": uuid4()}) for call in told]
    with tenant_transaction(shared_pool, tenant_id) as conn:
        provider_usage.record_calls(conn, own[:5])
        if own[5:]:
            provider_usage.record_calls(conn, own[5:])
    inside = [call for call in own if call.at.date() <= DAY]
    by_model = groups(shared_pool, "model", tenant_id, first=DAY - timedelta(days=1))
    assert {key: row.calls for key, row in by_model.items()} == {
        model: sum(call.model == model for call in inside) for model in {call.model for call in inside}
    }
    whole = total(shared_pool, tenant_id, first=DAY - timedelta(days=1))
    assert whole.cost_usd == sum((call.cost_usd or Decimal(0) for call in inside), Decimal(0))
    assert whole.input_tokens + whole.output_tokens == sum(call.input_tokens + call.output_tokens for call in inside)
    assert whole.unpriced_calls == sum(
        call.cost_usd is None and (call.outcome == "ok" or call.input_tokens + call.output_tokens > 0)
        for call in inside
    )


def _fields(call: ProviderCall) -> dict[str, Any]:
    return {name: getattr(call, name) for name in ProviderCall.__struct_fields__}


def test_a_tenant_neither_sees_nor_pays_for_another(pool: Pool) -> None:
    record(pool, "globex")
    with tenant_transaction(pool, "acme") as conn:
        assert provider_usage.total(conn, tenant_id=None, first=DAY, last=DAY).calls == 0
        state = check_budget(conn, "acme", NOON, settings=Settings(llm_daily_budget_usd=Decimal("0.01")))
    assert state.is_allowed


def test_erasing_a_subject_leaves_the_sums_of_its_tenant(pool: Pool) -> None:
    record(pool, subject_id="ada")
    with tenant_transaction(pool, "acme") as conn:
        subjects.erase(conn, "acme", "ada")
    assert groups(pool, "subject") == {}
    assert total(pool).calls == 1
    with operator_transaction(pool) as conn:
        assert conn.execute("select count(*) from provider_calls").fetchone() == (0,)


def test_old_calls_are_purged_and_their_sums_stay(services: Services) -> None:
    record(services.pool, at=utcnow() - timedelta(days=91))
    record(services.pool, at=utcnow() - timedelta(days=89))
    assert retention.purge_provider_calls(services) == 1
    assert total(services.pool, first=DAY.replace(year=2020), last=utcnow().date()).calls == 2


def test_without_a_budget_everything_is_allowed(pool: Pool) -> None:
    record(pool, cost_usd=Decimal(10**6))
    with tenant_transaction(pool, "acme") as conn:
        state = check_budget(conn, "acme", NOON, settings=Settings())
    assert state.is_allowed and state.reason == ""


@pytest.mark.parametrize(
    ("budget", "exhausted"),
    [
        (Budget(usd=Decimal("0.03"), tokens=331), None),
        (Budget(usd=Decimal("0.02")), "usd"),
        (Budget(usd=Decimal("0.019")), "usd"),
        (Budget(tokens=220), "tokens"),
        (Budget(usd=Decimal(0)), "usd"),
        (Budget(tokens=0), "tokens"),
    ],
)
def test_a_budget_is_exhausted_when_it_is_reached(pool: Pool, budget: Budget, exhausted: str | None) -> None:
    record(pool)
    record(pool, outcome="invalid_json")
    config = Settings(llm_daily_budget_usd=budget.usd, llm_daily_budget_tokens=budget.tokens)
    with tenant_transaction(pool, "acme") as conn:
        state = check_budget(conn, "acme", NOON, settings=config)
    assert (state.exhausted, state.is_allowed) == (exhausted, exhausted is None)
    assert (state.spent_usd, state.spent_tokens) == (Decimal("0.02"), 220)


def test_an_exhausted_budget_is_renewed_at_midnight_utc(pool: Pool) -> None:
    record(pool)
    config = Settings(llm_daily_budget_tokens=1)
    with tenant_transaction(pool, "acme") as conn:
        before = check_budget(conn, "acme", datetime.fromisoformat("2026-03-15T05:29:59+05:30"), settings=config)
        after = check_budget(conn, "acme", before.resets_at, settings=config)
    assert not before.is_allowed and before.resets_at == datetime(2026, 3, 15, tzinfo=UTC)
    assert "110 tokens" in before.reason and "2026-03-15T00:00Z" in before.reason
    assert after.is_allowed


def test_a_tenant_may_have_a_budget_of_its_own(pool: Pool) -> None:
    record(pool)
    config = Settings(llm_daily_budget_usd=Decimal("0.01"), llm_daily_budget_tokens=1000)

    def exhausted(**own: float) -> str | None:
        with operator_transaction(pool) as conn:
            tenant_configs.change(conn, "acme", own)
        with tenant_transaction(pool, "acme") as conn:
            return check_budget(conn, "acme", NOON, settings=config).exhausted

    assert exhausted() == "usd"
    assert exhausted(llm_daily_budget_usd=0.1) is None
    assert exhausted(llm_daily_budget_tokens=110) == "tokens"
    assert exhausted(llm_daily_budget_usd=0.01) == "usd"


@given(
    usd=st.none() | st.decimals(0, 10, places=4),
    tokens=st.none() | st.integers(0, 1000),
    spent_usd=st.decimals(0, 10, places=4),
    spent_tokens=st.integers(0, 1000),
    now=st.datetimes(timezones=st.just(UTC), max_value=datetime(9998, 1, 1)),
)
def test_a_budget_says_exactly_whether_either_limit_is_reached(
    usd: Decimal | None, tokens: int | None, spent_usd: Decimal, spent_tokens: int, now: datetime
) -> None:
    state = budget_state(Budget(usd=usd, tokens=tokens), Spent(usd=spent_usd, tokens=spent_tokens), now)
    reached = (usd is not None and spent_usd >= usd) or (tokens is not None and spent_tokens >= tokens)
    assert state.is_allowed is not reached
    assert timedelta() < state.resets_at - now <= timedelta(days=1)


@pytest.mark.parametrize("value", ["-1", "lots", "NaN", "1e30", "Infinity"])
def test_a_budget_that_is_no_amount_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match="STATEWAVE_LLM_DAILY_BUDGET_USD"):
        load_settings({"STATEWAVE_LLM_DAILY_BUDGET_USD": value})


def test_a_budget_is_read_exactly() -> None:
    assert load_settings({"STATEWAVE_LLM_DAILY_BUDGET_USD": "2.10"}).llm_daily_budget_usd == Decimal("2.10")
    assert load_settings({"STATEWAVE_LLM_DAILY_BUDGET_USD": ""}).llm_daily_budget_usd is None
