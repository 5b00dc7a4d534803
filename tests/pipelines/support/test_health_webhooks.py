"""A subject's health reaches webhooks: one event per change of state, written with the change."""

from __future__ import annotations

from dataclasses import replace

from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.support.figures import read_health
from pipelines.support.resolutions import record_resolution
from storage.transactions import tenant_transaction


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
