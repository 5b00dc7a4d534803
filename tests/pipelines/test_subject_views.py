"""What operators see: the list of subjects, and each with its figures and its lineage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from config.clock import utcnow
from config.errors import BadRequest, Conflict, NotFound
from pipelines import subject_views
from pipelines.services import Services
from pipelines.support.session_timeline import EpisodeEvent, ResolutionEvent, session_timeline
from storage import memories
from storage.memories import NewMemory
from storage.transactions import tenant_transaction
from tests.pipelines.support.story import Story

HOUR = timedelta(hours=1)


@pytest.fixture
def story(services: Services) -> Story:
    """Ada has an open outage, Bo is well, and another tenant has an Ada of its own."""
    bo, other = Story(services, "customer:bo"), Story(services, "customer:ada", tenant_id="globex")
    bo.says("x", "user", "thanks", ago=HOUR)
    bo.health()
    other.says("y", "user", "hello", ago=HOUR)
    story = Story(services)
    for number in range(3):
        story.says(f"out-{number}", "user", "The API is down", ago=(3 - number) * HOUR)
        story.says(
            f"out-{number}", "agent", "I am looking into it now.", ago=(3 - number) * HOUR - timedelta(minutes=9)
        )
        story.ends(f"out-{number}", "open")
    story.health()
    return story


def listed(story: Story, **query: Any) -> list[tuple[str, str]]:
    page, total = subject_views.list_views(story.services, **{"tenant_id": None, **query})
    assert total >= len(page)
    return [(view.tenant_id, view.subject_id) for view in page]


def test_all_tenants_or_one(story: Story) -> None:
    assert listed(story) == [("acme", "customer:ada"), ("globex", "customer:ada"), ("acme", "customer:bo")]
    assert listed(story, tenant_id="globex") == [("globex", "customer:ada")]


def test_a_row_says_how_the_subject_is(story: Story) -> None:
    (view,), total = subject_views.list_views(story.services, tenant_id="acme", search="ada")
    assert total == 1
    assert (view.episode_count, view.session_count, view.open_sessions) == (6, 3, 3)
    assert (view.health_state, view.health_score) == ("at_risk", 35)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"search": "_da"}, []),
        ({"search": "BO"}, ["customer:bo"]),
        ({"health_state": "healthy"}, ["customer:bo"]),
        ({"health_state": "unknown", "tenant_id": None}, ["customer:ada"]),
        ({"has_open_sessions": True}, ["customer:ada"]),
        ({"has_open_sessions": False}, ["customer:bo"]),
        ({"sort_by": "episode_count", "descending": True}, ["customer:ada", "customer:bo"]),
        ({"sort_by": "subject_id", "descending": True}, ["customer:bo", "customer:ada"]),
        ({"sort_by": "last_activity"}, ["customer:bo", "customer:ada"]),
        ({"sort_by": "memory_count", "limit": 1, "offset": 1}, ["customer:bo"]),
    ],
)
def test_filters_and_orders(story: Story, query: dict[str, Any], expected: list[str]) -> None:
    assert [subject for _, subject in listed(story, **{"tenant_id": "acme", **query})] == expected


def test_one_subject(story: Story) -> None:
    detail = subject_views.subject_detail(story.services, "acme", "customer:ada")
    assert (detail.summary.episode_count, detail.summary.session_count) == (6, 3)
    assert detail.health is not None
    assert detail.sla is not None
    assert (detail.health.score, detail.sla.first_response_breach_count) == (35, 3)


def test_an_unknown_subject_has_zeros(story: Story) -> None:
    detail = subject_views.subject_detail(story.services, "acme", "nobody")
    assert (detail.summary.episode_count, detail.health, detail.sla) == (0, None, None)


def test_the_tenant_is_found_where_only_one_has_the_subject(story: Story) -> None:
    assert subject_views.tenant_of(story.services, "customer:bo", None) == "acme"
    assert subject_views.tenant_of(story.services, "customer:ada", "globex") == "globex"
    with pytest.raises(Conflict):
        subject_views.tenant_of(story.services, "customer:ada", None)


def test_episodes_of_a_subject(story: Story) -> None:
    page, total = subject_views.list_episodes(
        story.services, "acme", "customer:ada", session_id="out-1", search="LOOKING"
    )
    assert [(episode.session_id, episode.source) for episode in page] == [("out-1", "agent")]
    assert total == 1
    page, total = subject_views.list_episodes(story.services, "acme", "customer:ada", limit=2)
    assert ([episode.session_id for episode in page], total) == (["out-2", "out-2"], 6)


def stored(story: Story, content: str, sources: list[Any], *, superseded_by: Any = None) -> Any:
    memory_id, now = uuid4(), utcnow()
    row = NewMemory(
        id=memory_id,
        kind="profile_fact",
        content=content,
        summary="",
        confidence=1.0,
        valid_from=now,
        valid_to=None,
        source_episode_ids=sources,
        metadata=msgspec.Raw(b"{}"),
        status="superseded" if superseded_by else "active",
        claim_key=None,
        claim_value=None,
        content_hash=content.encode().hex(),
        superseded_by=superseded_by,
    )
    with tenant_transaction(story.services.pool, "acme") as conn:
        memories.insert_memories(conn, "acme", "customer:ada", [row], run_id=None, now=now)  # type: ignore[arg-type]
    return memory_id


def test_what_a_memory_replaced_and_what_replaced_it(story: Story) -> None:
    episodes, _ = subject_views.list_episodes(story.services, "acme", "customer:ada")
    one, two, three = (episode.id for episode in episodes[:3])
    newest = stored(story, "Ada lives in Porto", [one, two])
    older = stored(story, "Ada lives in Rome", [three], superseded_by=newest)
    sibling = stored(story, "Ada works at Globex", [two])
    stored(story, "Ada likes tea", [episodes[4].id])

    now = subject_views.memory_evolution(story.services, "acme", "customer:ada", str(newest))
    assert now.superseding_memory is None
    assert [item.id for item in now.superseded_memories] == [older]
    assert [item.id for item in now.sibling_memories] == [sibling]
    assert (now.source_episode_count, now.status) == (2, "active")

    then = subject_views.memory_evolution(story.services, "acme", "customer:ada", str(older))
    assert then.superseding_memory is not None
    assert (then.superseding_memory.id, then.superseding_memory.relationship) == (newest, "superseded_by")

    cited, total = subject_views.citing_memories(story.services, "acme", "customer:ada", str(two))
    assert ({memory.id for memory in cited}, total) == ({newest, sibling}, 2)
    page, total = subject_views.list_memories(
        story.services, "acme", "customer:ada", status="superseded", search="ROME"
    )
    assert ([memory.id for memory in page], total) == ([older], 1)


def test_ids_that_are_none_and_memories_of_others(story: Story) -> None:
    with pytest.raises(BadRequest):
        subject_views.citing_memories(story.services, "acme", "customer:ada", "x")
    memory = stored(story, "Ada lives in Porto", [])
    for tenant, subject in (("globex", "customer:ada"), ("acme", "customer:bo")):
        with pytest.raises(NotFound):
            subject_views.memory_evolution(story.services, tenant, subject, str(memory))


def test_a_session_in_full(story: Story) -> None:
    story.ends("out-0", "resolved", "Gateway restarted")
    timeline = session_timeline(story.services, "acme", "customer:ada", "out-0")
    assert (timeline.status, timeline.episode_count, timeline.first_response_seconds) == ("resolved", 2, 540.0)
    told = [
        (event.source if isinstance(event, EpisodeEvent) else event.status, event.sla_marks)
        for event in timeline.events
    ]
    assert told == [
        ("user", ["first_message"]),
        ("agent", ["first_response_breached"]),
        ("open", []),
        ("resolved", ["resolved"]),
    ]
    last = timeline.events[-1]
    assert isinstance(last, ResolutionEvent)
    assert last.resolution_summary == "Gateway restarted"


def test_an_unknown_session_is_empty(story: Story) -> None:
    timeline = session_timeline(story.services, "acme", "customer:ada", "none")
    assert (timeline.status, timeline.episode_count, timeline.events) == ("unknown", 0, [])
