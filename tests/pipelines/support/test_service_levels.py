"""First responses and resolutions: by when things happened, in whatever order they were stored."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.support import facts
from pipelines.support.facts import load_facts
from pipelines.support.health import assess
from pipelines.support.sla import service_levels
from storage.transactions import Pool, statements_sent, tenant_transaction
from tests.pipelines.support.story import Story

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def story(services: Services) -> Story:
    return Story(services)


def test_figures_of_one_session(story: Story) -> None:
    story.says("a", "user", "hello", ago=3 * HOUR)
    story.says("a", "user", "anybody there?", ago=3 * HOUR - MINUTE)
    story.says("a", "agent", "yes", ago=3 * HOUR - 4 * MINUTE)
    story.ends("a", "resolved", ago=HOUR)
    (session,) = story.levels().sessions
    assert msgspec.structs.asdict(session) == {
        "session_id": "a",
        "status": "resolved",
        "first_message_at": (story.now - 3 * HOUR).isoformat(),
        "first_response_at": (story.now - 3 * HOUR + 4 * MINUTE).isoformat(),
        "resolved_at": (story.now - HOUR).isoformat(),
        "first_response_seconds": 240.0,
        "resolution_seconds": 7200.0,
        "open_duration_seconds": None,
        "first_response_breached": False,
        "resolution_breached": False,
    }


def test_times_are_written_with_their_offset(story: Story) -> None:
    story.says("a", "user", "hello", ago=3 * HOUR)
    (session,) = story.levels().sessions
    assert session.first_message_at is not None
    assert session.first_message_at.endswith("+00:00")


def test_a_time_equal_to_its_threshold_keeps_it(story: Story) -> None:
    story.says("a", "user", "hello", ago=3 * HOUR)
    story.says("a", "agent", "hi", ago=3 * HOUR - 5 * MINUTE)
    story.ends("a", "resolved", ago=HOUR)
    exact = story.levels(first_response_minutes=5, resolution_hours=2)
    assert (exact.first_response_breach_count, exact.resolution_breach_count) == (0, 0)
    tighter = story.levels(first_response_minutes=4.99, resolution_hours=1.99)
    assert (tighter.first_response_breach_count, tighter.resolution_breach_count) == (1, 1)


def test_a_greeting_before_the_question_is_no_answer(story: Story) -> None:
    story.says("a", "agent", "Welcome!", ago=HOUR)
    story.says("a", "user", "my export fails", ago=30 * MINUTE)
    story.says("a", "agent", "I am on it", ago=20 * MINUTE)
    (session,) = story.levels().sessions
    assert session.first_response_seconds == 600.0


def test_an_open_session_has_an_age_and_no_breach(story: Story) -> None:
    story.says("a", "user", "hello", ago=3 * DAY)
    story.ends("a", "open")
    (session,) = story.levels().sessions
    assert session.open_duration_seconds == pytest.approx(3 * 86400, abs=60)
    assert not session.resolution_breached
    assert session.resolved_at is None


def test_without_roles_only_what_can_be_known_is_said(story: Story) -> None:
    story.says("a", "crm", "imported note", ago=HOUR)
    story.ends("a", "resolved")
    (session,) = story.levels().sessions
    assert session.first_message_at == (story.now - HOUR).isoformat()
    assert (session.first_response_at, session.resolved_at, session.resolution_seconds) == (None, None, None)
    assert session.status == "resolved"


def test_sessions_without_episodes_and_episodes_without_sessions_do_not_count(story: Story) -> None:
    story.ends("ghost", "open")
    append_episodes(
        story.services,
        "acme",
        [NewEpisode(subject_id=story.subject_id, source="user", type="message", payload={"text": "hello"})],
        request_id=None,
    )
    assert story.levels().total_sessions == 0


def test_a_session_without_a_record_is_unknown(story: Story) -> None:
    story.says("a", "user", "hello", ago=HOUR)
    levels = story.levels()
    assert [session.status for session in levels.sessions] == ["unknown"]
    assert (levels.open_sessions, levels.resolved_sessions, levels.avg_resolution_seconds) == (0, 0, None)


def test_sessions_that_overlap_are_measured_apart(story: Story) -> None:
    story.says("a", "user", "first", ago=60 * MINUTE)
    story.says("b", "user", "second", ago=59 * MINUTE)
    story.says("b", "agent", "answer to b", ago=58 * MINUTE)
    story.says("a", "agent", "answer to a", ago=50 * MINUTE)
    assert [s.first_response_seconds for s in story.levels().sessions] == [600.0, 60.0]


def test_a_replayed_history_is_measured_by_its_own_times(story: Story) -> None:
    """Stored today, the episodes say themselves when they happened."""
    for who, minute in (("user", 0), ("agent", 3)):
        story.says("a", who, "", ago=timedelta(0), payload={"text": "x", "event_time": f"2023-05-08T10:0{minute}:00Z"})
    (session,) = story.levels().sessions
    assert session.first_message_at == "2023-05-08T10:00:00+00:00"
    assert session.first_response_seconds == 180.0


def test_a_clock_ahead_of_ours_does_not_answer_before_it_was_asked(story: Story) -> None:
    story.says("a", "user", "hello", ago=-MINUTE)
    story.ends("a", "resolved")
    (session,) = story.levels().sessions
    assert session.resolution_seconds == 0.0


def test_thousands_of_sessions_cost_one_statement(story: Story) -> None:
    episodes = [
        NewEpisode(
            subject_id=story.subject_id,
            session_id=f"s{number}",
            source=source,
            type="message",
            payload={"text": "hello"},
            occurred_at=story.now - DAY + minutes * MINUTE,
        )
        for number in range(3000)
        for source, minutes in (("user", 0), ("agent", 2))
    ]
    append_episodes(story.services, "acme", episodes, request_id=None)
    with tenant_transaction(story.services.pool, "acme") as conn:
        statements_sent.set(0)
        known = load_facts(conn, "acme", story.subject_id)
        # One asks whether the facts are kept, one works them out, one keeps them.
        assert statements_sent.get() == 3
        assert load_facts(conn, "acme", story.subject_id) == known
        assert statements_sent.get() == 4
    levels = story.levels()
    assert (levels.total_sessions, levels.avg_first_response_seconds) == (3000, 120.0)


def test_what_was_worked_out_is_never_served_stale(story: Story) -> None:
    assert story.levels().total_sessions == 0
    story.says("a", "user", "hello", ago=HOUR)
    assert story.levels().sessions[0].first_response_seconds is None
    story.says("a", "agent", "hi", ago=HOUR - MINUTE)
    assert story.levels().sessions[0].first_response_seconds == 60.0
    story.ends("a", "open")
    assert story.levels().open_sessions == 1
    story.ends("a", "unresolved")
    assert story.levels().open_sessions == 0


def test_facts_kept_by_another_version_are_worked_out_again(story: Story) -> None:
    story.says("a", "user", "hello", ago=HOUR)
    before = story.levels()
    with tenant_transaction(story.services.pool, "acme") as conn:
        conn.execute("update support_facts set facts = '\\x91c3'")
    assert story.levels().sessions == before.sessions


DAY_ZERO = datetime(2026, 1, 1, tzinfo=UTC)

SAMPLES = (
    *("the login page is broken", "please reset my login", "my invoice is wrong", "thanks a lot", "the api is down"),
    *("refund the invoice", "reset done", "I looked at the logs", ""),
)


@st.composite
def histories(draw: st.DrawFn) -> list[NewEpisode]:
    episodes = []
    for number in range(draw(st.integers(1, 25))):
        payload: dict[str, Any] = {"text": draw(st.sampled_from(SAMPLES)), "number": number}
        at = DAY_ZERO + timedelta(minutes=draw(st.integers(0, 5000)))
        if draw(st.booleans()):
            payload["event_time"] = at.isoformat()
        episodes.append(
            NewEpisode(
                subject_id="ada",
                session_id=draw(st.sampled_from(["a", "b", "c", None])),
                source=draw(st.sampled_from(["user", "agent", "crm", "support-chat", "system"])),
                type="message",
                payload=payload,
                occurred_at=at,
            )
        )
    return episodes


def figures(services: Services, tenant_id: str, episodes: Sequence[NewEpisode]) -> tuple[Any, Any]:
    """Health and service levels after storing the episodes in this order, in two batches."""
    middle = len(episodes) // 2
    for batch in (episodes[:middle], episodes[middle:]):
        if batch:
            append_episodes(services, tenant_id, batch, request_id=None)
    with tenant_transaction(services.pool, tenant_id) as conn:
        known = load_facts(conn, tenant_id, "ada").facts
    now = DAY_ZERO + 10 * DAY
    return service_levels(known, subject_id="ada", now=now), assess(known, now=now)


_tenants = iter(range(1_000_000))


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_ingestion_changes_nothing(
    shared_pool: Pool, monkeypatch: pytest.MonkeyPatch, episodes: list[NewEpisode], chance: random.Random
) -> None:
    """Not even where the window of the newest episodes is so small that it cuts the history."""
    monkeypatch.setattr("storage.support_facts.WINDOW_EPISODES", 5)
    services = Services(settings=Settings(), pool=shared_pool, embedder=None, ping_broker=lambda: None)
    shuffled = list(episodes)
    chance.shuffle(shuffled)
    number = next(_tenants)
    assert figures(services, f"order-{number}", episodes) == figures(services, f"disorder-{number}", shuffled)


def test_the_window_of_resolutions_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "WINDOW_RESOLUTIONS", 2)
    sessions = [facts.Session(session_id=str(day), status="open", updated_at=DAY_ZERO + day * DAY) for day in (3, 1, 2)]
    _, recorded = facts.SubjectFacts(sessions=sessions).windowed()
    assert [session.session_id for session in recorded] == ["3", "2"]
