"""A change of state is told once, whoever notices it, and time alone is noticed as well."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from config.clock import utcnow
from config.tracing import tracing
from pipelines import retention
from pipelines.services import Services
from pipelines.support import health_alerts
from pipelines.support.health_alerts import HealthChange, check_health
from pipelines.support.resolutions import record_resolution
from storage import health_states, runs
from storage.transactions import Connection, operator_transaction, tenant_transaction
from tests.pipelines.support.story import Story

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def story(services: Services) -> Story:
    """Events are rows of a table, so that one which is rolled back was never told."""
    with services.pool.connection() as conn:
        conn.execute("create table told (change text); grant all on told to statewave_app")
    return Story(services)


def tell(conn: Connection, tenant_id: str, subject_id: str, change: HealthChange) -> None:
    conn.execute("insert into told values (%s)", (f"{change.previous_state} -> {change.current_state}",))


def told(story: Story) -> list[str]:
    with story.services.pool.connection() as conn:
        return [change for (change,) in conn.execute("select change from told")]


def check(story: Story, **clock: Any) -> None:
    with tenant_transaction(story.services.pool, story.tenant_id) as conn:
        check_health(conn, story.tenant_id, story.subject_id, now=clock.get("now", utcnow()), tell=tell)


def goes_wrong(story: Story, issues: int = 3) -> None:
    """Issues that are open, answered in time and not yet a day old."""
    for number in range(issues):
        story.says(f"issue-{number}", "user", f"Topic number {number} does not work", ago=HOUR)
        story.says(f"issue-{number}", "agent", f"Looking into number {number}", ago=HOUR - MINUTE)
        story.ends(f"issue-{number}", "open")


def test_worse_and_better_are_told_once_each(story: Story) -> None:
    goes_wrong(story)
    check(story)
    check(story)
    assert told(story) == ["healthy -> watch"]
    for number in range(3):
        story.ends(f"issue-{number}", "resolved")
    check(story)
    check(story)
    assert told(story)[1:] == ["watch -> healthy"]


def test_a_customer_who_was_always_well_is_not_news(story: Story) -> None:
    story.says("hello", "user", "hello", ago=DAY)
    check(story)
    assert told(story) == []


def test_an_unknown_customer_leaves_no_state(story: Story) -> None:
    check(story)
    with operator_transaction(story.services.pool) as conn:
        assert conn.execute("select count(*) from health_states").fetchone() == (0,)


@pytest.mark.parametrize("looked_before", [False, True], ids=["first look", "later look"])
def test_many_workers_at_once_tell_once(story: Story, looked_before: bool) -> None:
    story.says("hello", "user", "hello", ago=DAY)
    if looked_before:
        check(story)
    goes_wrong(story)
    start = threading.Barrier(6)

    def look(_: int) -> None:
        start.wait()
        check(story)

    with ThreadPoolExecutor(6) as workers:
        list(workers.map(look, range(6)))
    assert told(story) == ["healthy -> watch"]


def test_a_worker_that_saw_less_does_not_undo_what_a_faster_one_told(story: Story) -> None:
    """The slower one read the facts before the last issue came in, and writes after the faster one."""
    story.says("hello", "user", "hello", ago=DAY)
    check(story)
    goes_wrong(story, issues=1)
    story.levels()  # The facts are kept now, so the slower one holds no lock that the faster one waits for.
    write = health_states.write
    overtaken: list[bool] = []

    def write_late(*arguments: Any, **state: Any) -> bool:
        if not overtaken:
            overtaken.append(True)
            goes_wrong(story, issues=4)
            check(story)
        return write(*arguments, **state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health_states, "write", write_late)
        check(story)
    assert overtaken
    assert told(story) == ["healthy -> watch"]


def test_an_event_is_committed_with_its_state_or_not_at_all(story: Story) -> None:
    goes_wrong(story)

    def dies_before_the_commit() -> None:
        with tenant_transaction(story.services.pool, "acme") as conn:
            check_health(conn, "acme", story.subject_id, now=utcnow(), tell=tell)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dies_before_the_commit()
    assert told(story) == []
    check(story)
    assert told(story) == ["healthy -> watch"]


def scheduled(story: Story) -> list[Any]:
    with operator_transaction(story.services.pool) as conn:
        return conn.execute(
            "select id from runs where kind = 'health' and state = 'pending' and subject_id = %s", (story.subject_id,)
        ).fetchall()


def test_changes_that_come_together_cost_one_check(story: Story) -> None:
    story.says("a", "user", "nobody has recorded anything of this customer", ago=DAY)
    assert scheduled(story) == []
    goes_wrong(story)
    story.says("a", "user", "and another word", ago=DAY)
    assert len(scheduled(story)) == 1


def test_an_episode_of_a_customer_with_resolutions_is_checked(story: Story) -> None:
    story.ends("a", "open")
    with operator_transaction(story.services.pool) as conn:
        conn.execute("delete from runs")
    story.says("a", "user", "it is urgent", ago=DAY)
    assert len(scheduled(story)) == 1


def run_pending(story: Story) -> None:
    for (id,) in scheduled(story):
        with operator_transaction(story.services.pool) as conn:
            conn.execute("update runs set run_after = now() where id = %s", (id,))
            run = runs.claim(conn, id, stage=health_states.STAGE, lease=timedelta(seconds=30))
        assert run is not None
        assert health_alerts.evaluate(story.services, run, tell=tell) is not None


def sweep_finds(story: Story, *, after: timedelta) -> int:
    with operator_transaction(story.services.pool) as conn:
        conn.execute("delete from runs")
        return health_states.schedule_due(conn, now=story.now + after, limit=10)


def test_a_service_level_that_runs_out_is_noticed_by_time_alone(story: Story) -> None:
    """One issue, answered at once, is healthy; that it is still open after a day is not."""
    goes_wrong(story, issues=1)
    check(story)
    assert told(story) == []
    a_day_after = 23 * HOUR + MINUTE
    assert sweep_finds(story, after=22 * HOUR) == 0
    assert sweep_finds(story, after=a_day_after) == 1
    assert sweep_finds(story, after=a_day_after) == 1, "due until it has been looked at"
    assert len(scheduled(story)) == 1
    for _ in range(2):
        check(story, now=story.now + a_day_after)
    assert told(story) == ["healthy -> watch"]
    assert sweep_finds(story, after=a_day_after) == 0
    story.ends("issue-0", "resolved")
    check(story, now=story.now + a_day_after)
    assert told(story) == ["healthy -> watch", "watch -> healthy"]


def test_nobody_answering_is_noticed_by_time_alone(story: Story) -> None:
    story.says("export", "user", "The export stops at 40 percent", ago=3 * MINUTE)
    story.ends("export", "open")
    check(story)
    assert sweep_finds(story, after=MINUTE) == 0
    assert sweep_finds(story, after=3 * MINUTE) == 1
    check(story, now=story.now + 3 * MINUTE)
    assert told(story) == ["healthy -> watch"]
    story.says("export", "agent", "Sorry for the wait, I am on it", ago=timedelta())
    check(story, now=story.now + 4 * MINUTE)
    assert told(story) == ["healthy -> watch", "watch -> healthy"]


def test_a_sweep_finds_everybody_who_is_due_and_each_once(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_alerts, "SWEPT_AT_ONCE", 2)
    for number in range(5):
        customer = Story(story.services, subject_id=f"customer:{number}")
        goes_wrong(customer, issues=1)
        check(customer)
    with operator_transaction(story.services.pool) as conn:
        conn.execute("delete from runs")
    monkeypatch.setattr(health_alerts, "utcnow", lambda: story.now + DAY)
    assert health_alerts.sweep(story.services) == 5
    assert health_alerts.sweep(story.services) == 0, "each waits for its check already"


def test_an_issue_that_becomes_idle_is_noticed_by_time_alone(story: Story) -> None:
    """Three open issues are to be watched; that one of them has been silent for a week is worse."""
    goes_wrong(story, issues=3)
    story.says("issue-0", "user", "This is urgent", ago=MINUTE)
    check(story, now=story.now + 2 * DAY)
    assert told(story) == ["healthy -> watch"]
    assert sweep_finds(story, after=6 * DAY) == 0
    assert sweep_finds(story, after=7 * DAY) == 1
    check(story, now=story.now + 7 * DAY)
    assert told(story) == ["healthy -> watch", "watch -> at_risk"]


def test_a_run_does_its_check_and_is_done(story: Story) -> None:
    goes_wrong(story)
    run_pending(story)
    assert told(story) == ["healthy -> watch"]
    with operator_transaction(story.services.pool) as conn:
        assert conn.execute("select state, result->>'score' from runs where kind = 'health'").fetchall() == [
            ("completed", "55")
        ]


def test_a_lost_run_is_reported_as_lost(story: Story) -> None:
    goes_wrong(story)
    ((id,),) = scheduled(story)
    with operator_transaction(story.services.pool) as conn:
        conn.execute("update runs set run_after = now()")
        run = runs.claim(conn, id, stage=None, lease=timedelta(seconds=-1))
        assert run is not None
        assert runs.claim(conn, id, stage=None, lease=timedelta(seconds=30)) is not None
    assert health_alerts.evaluate(story.services, run, tell=tell) is None


def test_a_check_never_leaves_a_state_of_an_erased_customer(story: Story) -> None:
    goes_wrong(story)
    with tenant_transaction(story.services.pool, "acme") as conn:
        conn.execute("delete from resolutions")
        conn.execute("delete from subjects")
        assert not health_states.write(
            conn, "acme", story.subject_id, seen=None, score=50, alert_state="watch", next_check_at=None, now=utcnow()
        )


def test_tenants_with_the_same_customer_have_a_health_each(story: Story) -> None:
    goes_wrong(story)
    record_resolution(story.services, "globex", subject_id=story.subject_id, session_id="x", status="resolved")
    other = Story(story.services, tenant_id="globex")
    assert (story.health().score, other.health().score) == (55, 100)


def test_a_check_belongs_to_the_request_that_caused_it(story: Story) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with tracing(trace):
        record_resolution(
            story.services, "acme", subject_id=story.subject_id, session_id="a", status="open", request_id="request-7"
        )
    with operator_transaction(story.services.pool) as conn:
        assert conn.execute("select request_id, traceparent from runs where kind = 'health'").fetchall() == [
            ("request-7", trace)
        ]


def test_figures_that_a_change_has_outdated_are_cleaned_away(story: Story) -> None:
    other = Story(story.services, subject_id="customer:bob")
    for customer in (story, other):
        customer.says("a", "user", "hello", ago=HOUR)
        customer.levels()
    story.says("a", "user", "hello again", ago=HOUR)
    assert retention.clean_caches(story.services) == 1
    with operator_transaction(story.services.pool) as conn:
        assert conn.execute("select subject_id from support_facts").fetchall() == [("customer:bob",)]
