"""Every tick fires once, whoever looks, and what was missed is made up for as its policy says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipelines import schedules
from pipelines.schedules import SCHEDULES, Schedule
from pipelines.services import Services
from storage import runs
from storage.transactions import operator_transaction

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def ticks(services: Services, name: str) -> list[tuple[datetime, str]]:
    with operator_transaction(services.pool) as conn:
        return conn.execute(
            "select tick, outcome from schedule_ticks where schedule = %s order by tick", (name,)
        ).fetchall()


def runs_of(services: Services, name: str) -> int:
    with operator_transaction(services.pool) as conn:
        row = conn.execute("select count(*) from runs where kind = 'maintenance' and stage = %s", (name,)).fetchone()
    assert row is not None
    return int(row[0])


def test_nothing_fires_when_a_schedule_is_new(services: Services) -> None:
    schedules.declare(services, now=NOON)
    assert schedules.fire_due(services, now=NOON) == []


def test_many_schedulers_fire_a_tick_once(services: Services) -> None:
    schedules.declare(services, now=NOON)
    with ThreadPoolExecutor(6) as threads:
        fired = list(threads.map(lambda _: schedules.fire_due(services, now=NOON + timedelta(minutes=10)), range(12)))
    names = [name for lot in fired for name in lot]
    assert sorted(names) == sorted(set(names)) and "expire-memories" in names
    assert runs_of(services, "expire-memories") == 1
    assert len(ticks(services, "expire-memories")) == 1


def test_looking_again_within_the_interval_fires_nothing(services: Services) -> None:
    schedules.declare(services, now=NOON)
    assert "expire-memories" in schedules.fire_due(services, now=NOON + timedelta(minutes=10))
    assert "expire-memories" not in schedules.fire_due(services, now=NOON + timedelta(minutes=19, seconds=59))
    assert "expire-memories" in schedules.fire_due(services, now=NOON + timedelta(minutes=20))


def test_a_night_without_schedulers_is_caught_up_once_or_skipped(services: Services) -> None:
    schedules.declare(services, now=NOON)
    morning = NOON + timedelta(hours=18, minutes=3, seconds=40)
    fired = schedules.fire_due(services, now=morning)
    assert "expire-memories" in fired, "its policy is to catch up once"
    assert ticks(services, "expire-memories") == [(NOON + timedelta(hours=18), "fired")]
    assert "reap-leases" in fired, "this minute's tick is not late"


def test_a_late_tick_of_a_schedule_that_skips_is_not_fired(services: Services) -> None:
    hourly = Schedule(name="reap-leases", every=timedelta(hours=1), catch_up="skip", work=lambda _: {})
    assert not schedules._fire(services, hourly, NOON + timedelta(minutes=5))
    assert ticks(services, "reap-leases") == [(NOON, "skipped")]


def test_the_run_of_a_tick_does_its_work_and_says_what_came_of_it(services: Services) -> None:
    schedules.declare(services, now=NOON)
    schedules.fire_due(services, now=NOON + timedelta(minutes=10))
    with operator_transaction(services.pool) as conn:
        row = conn.execute("select id from runs where stage = 'expire-memories'").fetchone()
        assert row is not None
        run = runs.claim(conn, row[0], stage=None, lease=timedelta(seconds=30))
    assert run is not None
    after = schedules.perform(services, run)
    assert after is not None and after.state == "completed"
    (listed,) = [row for row in schedules.list_schedules(services.pool) if row.name == "expire-memories"]
    assert (listed.last_run_state, listed.next_tick - NOON) == ("completed", timedelta(minutes=20))


def test_every_schedule_does_its_work_on_an_empty_database(services: Services) -> None:
    for schedule in SCHEDULES:
        assert all(count == 0 for count in schedule.work(services).values()), schedule.name


@given(
    now=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),
    every=st.integers(60, 86_400 * 7),
    offset=st.integers(0, 86_400),
)
def test_the_last_tick_is_the_newest_one_that_has_come(now: datetime, every: int, offset: int) -> None:
    schedule = Schedule(name="x", every=timedelta(seconds=every), offset=timedelta(seconds=offset), work=lambda _: {})
    tick = schedule.last_tick(now)
    assert tick <= now < tick + schedule.every
    assert schedule.last_tick(tick) == tick
    assert schedule.last_tick(tick - timedelta(microseconds=1)) == tick - schedule.every
