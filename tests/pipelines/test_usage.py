"""What tenants use is counted without a row that every request waits for, and nothing that was counted is lost."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.usage_flusher import UsageFlusher
from config.errors import QuotaExceeded
from pipelines.quotas import QuotaStanding, quota_standing, write_usage
from pipelines.services import Services
from pipelines.tenant_limits import STALE_SECONDS, TenantLimits, month_of, next_month
from pipelines.usage import Usage
from storage import tenant_configs
from storage.transactions import Pool, operator_transaction
from storage.usage import Tally
from tests.fixtures.faults import Killed, Killer

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
LAST_OF_MARCH = datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def written(pool: Pool) -> dict[tuple[str, str, str], int]:
    with operator_transaction(pool) as conn:
        rows = conn.execute("select tenant_id, day::text, meter, quantity from usage_days").fetchall()
    return {(tenant, day, meter): quantity for tenant, day, meter, quantity in rows}


def configure(pool: Pool, tenant_id: str, **config: Any) -> None:
    with operator_transaction(pool) as conn:
        tenant_configs.change(conn, tenant_id, config)


def another(services: Services) -> Services:
    """The services of another process over the same database."""
    return Services(settings=services.settings, pool=services.pool, embedder=None, ping_broker=lambda: None)


def flush(services: Services) -> None:
    services.usage.flush(services.pool, written=services.tenant_limits.add)


def test_processes_add_up_to_one_row_a_day(services: Services) -> None:
    for process in (services, another(services)):
        process.usage.count("acme", "episodes", 3, now=NOON)
        process.usage.count("acme", "episodes", now=NOON)
        process.usage.count("acme", "contexts", now=datetime.fromisoformat("2026-03-15T05:30:00+05:30"))
        process.usage.count("globex", "episodes", 0, now=NOON)
        flush(process)
        flush(process)
    assert written(services.pool) == {("acme", "2026-03-14", "episodes"): 8, ("acme", "2026-03-15", "contexts"): 2}


def test_nothing_counted_means_no_statement(services: Services, dying_at: Killer) -> None:
    with dying_at(1):
        flush(services)


def test_what_could_not_be_written_is_written_later(services: Services, dying_at: Killer) -> None:
    services.usage.count("acme", "requests", 5, now=NOON)
    for statement in (1, 2, 3):
        with pytest.raises(Killed), dying_at(statement):
            flush(services)
        services.usage.count("acme", "requests", now=NOON)
    assert services.usage.unwritten("acme", "requests", date(2026, 3, 1)) == 8
    assert written(services.pool) == {}
    flush(services)
    assert written(services.pool) == {("acme", "2026-03-14", "requests"): 8}
    assert services.usage.unwritten("acme", "requests", date(2026, 3, 1)) == 0


def test_threads_lose_nothing_while_others_flush(services: Services) -> None:
    stop = threading.Event()

    def flushing() -> None:
        while not stop.is_set():
            flush(services)

    def counting() -> None:
        for _ in range(500):
            services.usage.count("acme", "requests", now=NOON)

    flusher, threads = threading.Thread(target=flushing), [threading.Thread(target=counting) for _ in range(4)]
    for thread in (flusher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    flusher.join()
    flush(services)
    assert written(services.pool) == {("acme", "2026-03-14", "requests"): 2000}


def test_processes_that_write_the_same_rows_do_not_deadlock(services: Services) -> None:
    def work(tenants: list[str]) -> None:
        own = another(services)
        for _ in range(15):
            for tenant in tenants:
                own.usage.count(tenant, "requests", now=NOON)
            flush(own)

    names = [f"tenant-{i}" for i in range(20)]
    failures: list[BaseException] = []

    def guarded(tenants: list[str]) -> None:
        try:
            work(tenants)
        except BaseException as ex:
            failures.append(ex)

    threads = [threading.Thread(target=guarded, args=(order,)) for order in (names, names[::-1], names[7:] + names[:7])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(written(services.pool).values()) == {45}


def test_the_flusher_writes_what_is_left_when_it_stops(services: Services) -> None:
    flusher = UsageFlusher(services)
    flusher.start()
    services.usage.count("acme", "webhooks", 2, now=NOON)
    flusher.stop()
    assert written(services.pool) == {("acme", "2026-03-14", "webhooks"): 2}


def test_the_flusher_outlives_a_database_that_is_away(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError

    flusher = UsageFlusher(services)
    flusher.start()
    services.usage.count("acme", "webhooks", now=NOON)
    with monkeypatch.context() as patch:
        patch.setattr("storage.usage.add", away)
        flusher._flush()
    flusher.stop()
    assert list(written(services.pool).values()) == [1]


def test_without_a_quota_nothing_is_bounded(services: Services) -> None:
    services.usage.count("acme", "episodes", 10**9)
    assert quota_standing(services, "acme", "episodes") is None


def test_a_quota_counts_what_is_written_and_what_is_not_yet(services: Services) -> None:
    configure(services.pool, "acme", monthly_quotas={"episodes": 10})
    services.usage.count("acme", "episodes", 4, now=NOON - timedelta(days=13))
    services.usage.count("acme", "episodes", 99, now=NOON - timedelta(days=14))
    flush(services)
    services.usage.count("acme", "episodes", 2, now=NOON)
    services.usage.count("acme", "contexts", 50, now=NOON)
    services.usage.count("globex", "episodes", 50, now=NOON)
    for _ in range(2):
        standing = quota_standing(services, "acme", "episodes", now=NOON)
        assert standing is not None
        assert (standing.used, standing.remaining, standing.is_near) == (6, 4, False)
        flush(services)
    # The use of other processes is known when limits are read again.
    another_process = another(services)
    another_process.usage.count("acme", "episodes", 3, now=NOON)
    flush(another_process)
    services.tenant_limits.refresh(services.pool, now=NOON)
    standing = quota_standing(services, "acme", "episodes", now=NOON)
    assert standing is not None and standing.used == 9 and standing.is_near


def test_a_quota_is_renewed_when_the_month_turns_in_utc(services: Services) -> None:
    configure(services.pool, "acme", monthly_quotas={"contexts": 1})
    services.usage.count("acme", "contexts", now=LAST_OF_MARCH)
    used_up = quota_standing(services, "acme", "contexts", now=LAST_OF_MARCH)
    assert used_up is not None and used_up.resets_in == 1
    with pytest.raises(QuotaExceeded) as refused:
        used_up.after(1)
    assert refused.value.retry_after == 1 and "2026-04-01T00:00Z" in refused.value.message
    flush(services)
    first_of_april = LAST_OF_MARCH + timedelta(microseconds=1)
    india = first_of_april.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    for now in (first_of_april, india):
        renewed = quota_standing(services, "acme", "contexts", now=now)
        assert renewed is not None and renewed.used == 0
        assert (renewed.resets_at, renewed.month_seconds) == (datetime(2026, 5, 1, tzinfo=UTC), 30 * 86_400)
    services.usage.count("acme", "contexts", now=first_of_april)
    again = quota_standing(services, "acme", "contexts", now=first_of_april)
    assert again is not None and again.remaining == 0


@given(st.dates(min_value=date(1, 1, 1), max_value=date(9998, 12, 1)))
def test_months_follow_each_other(day: date) -> None:
    month = day.replace(day=1)
    following = next_month(month)
    assert following.day == 1 and (following - month).days in (28, 29, 30, 31)
    assert month_of(datetime(day.year, day.month, day.day, 23, tzinfo=UTC)) == month


@given(limit=st.integers(0, 100), used=st.integers(0, 100), quantity=st.integers(1, 100))
def test_a_quota_lets_exactly_so_much_through(limit: int, used: int, quantity: int) -> None:
    standing = QuotaStanding(meter="episodes", limit=limit, used=used, month=date(2026, 3, 1), now=NOON)
    if used + quantity > limit:
        with pytest.raises(QuotaExceeded):
            standing.after(quantity)
    else:
        assert standing.after(quantity).remaining == limit - used - quantity


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clocked(services: Services) -> tuple[Services, Clock]:
    """Services whose limits age as told."""
    clock = Clock()
    limits = TenantLimits(clock=clock)
    own = Services(
        settings=services.settings, pool=services.pool, embedder=None, ping_broker=lambda: None, tenant_limits=limits
    )
    return own, clock


def test_known_limits_cost_no_statement(services: Services, dying_at: Killer) -> None:
    configure(services.pool, "acme", rate_limit_rpm=5)
    known = services.tenant_limits.of(services.pool, "acme")
    with dying_at(1):
        assert services.tenant_limits.of(services.pool, "acme") is known
    assert known.config.rate_limit_rpm == 5


def test_a_change_takes_effect_when_limits_are_refreshed(services: Services) -> None:
    limits = services.tenant_limits
    assert limits.of(services.pool, "acme").config.rate_limit_rpm is None
    configure(services.pool, "acme", rate_limit_rpm=5)
    write_usage(services)
    assert limits.of(services.pool, "acme").config.rate_limit_rpm == 5


def test_limits_that_nobody_refreshes_are_read_again_in_time(clocked: tuple[Services, Clock]) -> None:
    services, clock = clocked
    services.tenant_limits.of(services.pool, "acme")
    configure(services.pool, "acme", rate_limit_rpm=5)
    assert services.tenant_limits.of(services.pool, "acme").config.rate_limit_rpm is None
    clock.seconds += STALE_SECONDS
    assert services.tenant_limits.of(services.pool, "acme").config.rate_limit_rpm == 5


def test_tenants_that_went_quiet_are_forgotten(clocked: tuple[Services, Clock]) -> None:
    services, clock = clocked
    services.tenant_limits.of(services.pool, "acme")
    clock.seconds += 100
    services.tenant_limits.of(services.pool, "globex")
    clock.seconds += 100
    services.tenant_limits.refresh(services.pool)
    assert list(services.tenant_limits._limits) == ["globex"]


def test_a_tenant_that_comes_back_is_active_again(clocked: tuple[Services, Clock]) -> None:
    services, clock = clocked
    services.tenant_limits.of(services.pool, "acme")
    clock.seconds += 1000
    services.tenant_limits.of(services.pool, "acme")
    services.tenant_limits.refresh(services.pool)
    assert list(services.tenant_limits._limits) == ["acme"]


def test_while_the_database_is_away_known_limits_stay_and_unknown_ones_are_none(
    clocked: tuple[Services, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, clock = clocked
    configure(services.pool, "acme", rate_limit_rpm=5)
    services.tenant_limits.of(services.pool, "acme")
    asked = 0

    def away(*_: Any, **__: Any) -> None:
        nonlocal asked
        asked += 1
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr("storage.usage.load_limits", away)
        clock.seconds += STALE_SECONDS
        for _ in range(10):
            assert services.tenant_limits.of(services.pool, "acme").config.rate_limit_rpm == 5
            assert services.tenant_limits.of(services.pool, "globex").config.rate_limit_rpm is None
        assert asked == 2
    clock.seconds += STALE_SECONDS
    configure(services.pool, "acme", rate_limit_rpm=6)
    assert services.tenant_limits.of(services.pool, "acme").config.rate_limit_rpm == 6


def test_a_month_of_one_tenant_is_nobody_elses() -> None:
    usage = Usage()
    usage.count("acme", "requests", now=NOON)
    assert usage.unwritten("globex", "requests", date(2026, 3, 1)) == 0
    assert usage.unwritten("acme", "requests", date(2026, 4, 1)) == 0
    limits = TenantLimits()
    limits.add({Tally("acme", NOON.date(), "requests"): 1})
    assert not limits._limits
