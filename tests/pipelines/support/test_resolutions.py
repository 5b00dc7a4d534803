"""How sessions ended: one record each, the newest first, with everything it has been."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest

from pipelines.erasure import erase_subject
from pipelines.services import Services
from pipelines.subjects import list_subjects
from pipelines.support.resolutions import list_resolutions, record_resolution
from storage import resolutions
from storage.resolutions import ResolutionChange
from storage.transactions import operator_transaction, tenant_transaction
from tests.pipelines.support.story import Story


@pytest.fixture
def story(services: Services) -> Story:
    return Story(services)


def history(story: Story, session: str) -> list[ResolutionChange]:
    with tenant_transaction(story.services.pool, story.tenant_id) as conn:
        return list(resolutions.changes(conn, story.tenant_id, story.subject_id, session))


def listed(story: Story, **page: object) -> list[str]:
    rows = list_resolutions(
        story.services,
        story.tenant_id,
        subject_id=story.subject_id,
        **{"status": None, "limit": 50, **page},  # type: ignore[arg-type]
    )
    return [row.session_id for row in rows]


def test_a_session_has_one_record_which_later_words_replace(story: Story) -> None:
    first = record_resolution(
        story.services,
        "acme",
        subject_id="ada",
        session_id="a",
        status="open",
        summary="It fails",
        metadata={"by": "Bo"},
    )
    assert (first.status, first.resolved_at) == ("open", None)
    second = record_resolution(story.services, "acme", subject_id="ada", session_id="a", status="resolved")
    assert second.id == first.id
    assert second.created_at == first.created_at
    assert second.resolved_at == second.updated_at
    assert second.resolution_summary is None, "what is left out is cleared"
    assert msgspec.json.decode(second.metadata) == {}


def test_resolving_again_resolves_now_and_reopening_forgets_when(story: Story) -> None:
    story.ends("a", "resolved", ago=timedelta(days=3))
    again = record_resolution(story.services, "acme", subject_id=story.subject_id, session_id="a", status="resolved")
    assert again.resolved_at == again.updated_at
    reopened = record_resolution(story.services, "acme", subject_id=story.subject_id, session_id="a", status="open")
    assert reopened.resolved_at is None


def test_every_state_is_kept_and_a_repetition_is_none(story: Story) -> None:
    story.ends("a", "open", "It fails")
    story.ends("a", "open", "It fails")
    story.ends("a", "resolved", "Restarted")
    story.ends("a", "resolved", "Restarted")
    story.ends("a", "open", "It fails again")
    assert [(change.status, change.resolution_summary) for change in history(story, "a")] == [
        ("open", "It fails"),
        ("resolved", "Restarted"),
        ("open", "It fails again"),
    ]


def test_pages_and_filters(story: Story) -> None:
    for number in range(5):
        story.ends(f"s{number}", "open" if number % 2 else "resolved")
    story.ends("s0", "unresolved")
    assert listed(story) == ["s0", "s4", "s3", "s2", "s1"]
    assert listed(story, limit=2, offset=1) == ["s4", "s3"]
    assert listed(story, status="open") == ["s3", "s1"]


def test_records_made_at_once_are_all_kept(story: Story) -> None:
    start = threading.Barrier(8)

    def end(number: int) -> None:
        start.wait()
        story.ends("a", ("open", "resolved")[number % 2], f"by {number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(end, range(8)))
    assert len(listed(story)) == 1
    assert [change.version for change in history(story, "a")] == list(range(1, 9))


def test_a_customer_known_by_resolutions_alone_is_not_listed_but_erased(story: Story) -> None:
    story.ends("a", "open")
    assert list_subjects(story.services, "acme", limit=10, offset=0) == ([], 0)
    story.health()
    erase_subject(story.services, "acme", story.subject_id)
    with operator_transaction(story.services.pool) as conn:
        for table in ("resolutions", "resolution_changes", "support_facts", "health_states", "subjects"):
            assert conn.execute(f"select count(*) from {table}").fetchone() == (0,), table
        # What will prove the erasure is all that is left to do.
        assert conn.execute("select kind from runs").fetchall() == [("erasure_proof",)]


def test_tenants_do_not_see_each_others_records(story: Story) -> None:
    story.ends("a", "open")
    assert listed(Story(story.services, tenant_id="globex")) == []
