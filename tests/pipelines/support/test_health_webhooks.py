"""A subject's health reaches webhooks: one event per change of state, written with the change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.support import health_alerts, health_webhooks
from pipelines.support.figures import read_health
from pipelines.support.resolutions import record_resolution
from storage import health_states, runs
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.receiver import Receiver
from tests.pipelines.support.story import Story
from tests.pipelines.webhook_stories import LEASE, deliver_due, with_settings

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def events(services: Services) -> list[tuple[str, str]]:
    with tenant_transaction(services.pool, "acme") as conn:
        return conn.execute(
            "select event, data ->> 'current_state' from webhook_deliveries"
            " where event like 'subject.health%%' order by created_at"
        ).fetchall()


def test_a_worse_state_is_told_once(services: Services) -> None:
    listening = replace(services, settings=replace(services.settings, webhook_url="https://hooks.example.com/x"))
    append_episodes(
        listening,
        "acme",
        [NewEpisode(subject_id="ada", session_id="s1", source="user", type="message", payload={"text": "It broke."})],
        request_id=None,
    )
    for session in ("s1", "s2", "s3"):
        record_resolution(listening, "acme", subject_id="ada", session_id=session, status="open")
    for _ in range(3):
        assert read_health(listening, "acme", "ada").state == "watch"
    assert events(listening) == [("subject.health_degraded", "watch")]


def test_a_vips_service_level_runs_out_and_the_account_manager_hears_of_it(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody does anything: the clock passes the deadline, the sweep finds the customer, the webhook arrives once."""
    ours = with_settings(services, webhook_url=receiver.url, webhook_events=("subject.health_degraded",))
    vip = Story(ours, subject_id="vip:board")
    vip.says("export", "user", "The quarterly export stops. The board meets tomorrow.", ago=22 * HOUR)
    vip.says("export", "agent", "Restarted the export worker.", ago=22 * HOUR - 2 * MINUTE)
    vip.ends("export", "open", "Quarterly export fails")
    work_off_health(ours)
    assert deliver_due(ours) == [], "near the breach, and still in time"

    for hours in (1, 3, 4):
        later = vip.now + hours * HOUR
        monkeypatch.setattr(health_alerts, "utcnow", lambda at=later: at)
        for _ in range(2):
            health_alerts.sweep(ours)
            work_off_health(ours)
        deliver_due(ours)
    (event,) = [request.json for request in receiver.received]
    assert event["event"] == "subject.health_degraded"
    assert (event["data"]["previous_state"], event["data"]["current_state"]) == ("healthy", "watch")
    assert event["data"]["factors"][0] == {
        "signal": "sla_overdue",
        "impact": 0,
        "detail": "Open session [export] is 60 minutes over its service level: resolution within 24 hours",
    }


def work_off_health(services: Services) -> None:
    """What workers do with the health runs that wait, due or not."""
    with operator_transaction(services.pool) as conn:
        waiting = conn.execute("select id from runs where kind = 'health' and state = 'pending'").fetchall()
        conn.execute("update runs set run_after = now() where kind = 'health' and state = 'pending'")
    for (run_id,) in waiting:
        with operator_transaction(services.pool) as conn:
            run = runs.claim(conn, run_id, stage=health_states.STAGE, lease=LEASE)
        assert run is not None
        health_webhooks.evaluate(services, run)
