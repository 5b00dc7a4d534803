"""Support over HTTP: the official client's calls, health alerts by real workers, operators' views, ids with slashes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from statewave import StatewaveClient
from statewave.exceptions import StatewaveAPIError

from tests.fixtures.stack import RunningStack

PATIENCE_SECONDS = 60.0


@pytest.fixture
def tenant() -> str:
    return f"support-{uuid4().hex[:12]}"


@pytest.fixture
def client(running_stack: RunningStack, tenant: str) -> Iterator[StatewaveClient]:
    with StatewaveClient(running_stack.base_url, tenant_id=tenant) as client:
        yield client


@pytest.fixture
def http(running_stack: RunningStack, tenant: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_stack.base_url, headers={"X-Tenant-ID": tenant}, timeout=30) as http:
        yield http


def says(client: StatewaveClient, session: str, who: str, text: str, *, at: str, subject: str = "ada") -> None:
    episode = {
        "subject_id": subject,
        "session_id": session,
        "source": who,
        "type": "message",
        "payload": {"messages": [{"role": "user" if who == "user" else "assistant", "content": text}]},
        "occurred_at": at,
    }
    client.create_episodes_batch([episode])


def test_the_official_client_sees_a_whole_case(client: StatewaveClient) -> None:
    says(client, "march", "user", "I was charged twice, please refund the duplicate charge", at="2026-03-01T09:00:00Z")
    says(client, "march", "agent", "Refunded the duplicate charge on the invoice.", at="2026-03-01T09:04:00Z")
    closed = client.create_resolution("ada", "march", status="resolved", resolution_summary="Duplicate charge refunded")
    assert closed.resolved_at is not None
    says(client, "may", "user", "The duplicate charge is back, this is urgent", at="2026-05-01T09:00:00Z")
    says(client, "may", "agent", "I compared the ledger with the payment provider.", at="2026-05-01T09:30:00Z")
    client.create_resolution("ada", "may", metadata={"priority": 1})

    assert [r.session_id for r in client.list_resolutions("ada")] == ["may", "march"]
    assert [r.session_id for r in client.list_resolutions("ada", status="resolved", limit=1)] == ["march"]

    health = client.get_health("ada")
    assert {factor.signal: factor.impact for factor in health.factors} == {
        "unresolved_issues": -15,
        "repeated_issues": -20,
        "escalations": -10,
        "idle_open_issue": -15,
        "recent_resolution": 10,
        "sla_resolution_breaches": -10,
        "slow_first_response": -5,
    }
    assert (health.score, health.state) == (35, "at_risk")

    levels = client.get_sla("ada", first_response_threshold_minutes=10)
    assert (levels.total_sessions, levels.resolved_sessions, levels.open_sessions) == (2, 1, 1)
    assert (levels.first_response_breach_count, levels.resolution_breach_count) == (1, 1)
    assert [s.first_response_seconds for s in levels.sessions] == [240.0, 1800.0]

    brief = client.create_handoff("ada", "may", reason="shift change", max_tokens=800)
    assert brief.handoff_notes.startswith("# Handoff Brief — ada\nReason: shift change\nSession: may\n")
    assert "- [march] Duplicate charge refunded (the same issue)" in brief.handoff_notes
    assert (brief.health_score, brief.health_state) == (35, "at_risk")
    assert [item.session_id for item in brief.resolution_history] == ["march", "may"]
    assert brief.token_estimate <= 800

    context = client.get_context("ada", "Answer the customer", session_id="may").assembled_context
    assert context.startswith(
        "## Task\nAnswer the customer\n\n## Earlier resolution of this issue\n- [march] Duplicate"
    )


def test_an_unknown_customer(client: StatewaveClient) -> None:
    assert client.get_health("nobody").score == 100
    assert client.get_sla("nobody").total_sessions == 0
    assert client.list_resolutions("nobody") == []
    assert client.create_handoff("nobody", "s1").customer_summary == "Subject: nobody"


@pytest.mark.parametrize("status", ["escalated", "pending", ""])
def test_other_states_of_a_resolution_are_refused(client: StatewaveClient, status: str) -> None:
    with pytest.raises(StatewaveAPIError) as refused:
        client.create_resolution("ada", "s1", status=status)
    assert refused.value.status_code == 422


@pytest.mark.parametrize(
    "query", ["status=escalated", "limit=0", "limit=201", "offset=-1"], ids=lambda query: query.replace("=", " ")
)
def test_queries_outside_the_limits_are_refused(http: httpx.Client, query: str) -> None:
    assert http.get(f"/v1/resolutions?subject_id=ada&{query}").status_code == 422


def test_resolutions_are_a_bare_list(http: httpx.Client) -> None:
    http.post("/v1/resolutions", json={"subject_id": "ada", "session_id": "a"}).raise_for_status()
    (record,) = http.get("/v1/resolutions", params={"subject_id": "ada"}).json()
    assert record["metadata"] == {}
    assert set(record) == {
        *("id", "subject_id", "session_id", "status", "resolution_summary", "resolved_at", "metadata"),
        *("created_at", "updated_at"),
    }


SLASHED = "repo:acme/shop@v1 café"


@pytest.mark.parametrize("path", ["repo:acme%2Fshop%40v1%20caf%C3%A9", "repo:acme/shop@v1%20caf%C3%A9"])
def test_ids_with_slashes_encoded_or_not(client: StatewaveClient, http: httpx.Client, path: str) -> None:
    says(client, "ticket/7", "user", "Hello", at="2026-05-01T09:00:00Z", subject=SLASHED)
    assert http.get(f"/v1/subjects/{path}/health").json()["subject_id"] == SLASHED
    assert http.get(f"/v1/subjects/{path}/sla").json()["total_sessions"] == 1
    assert http.get(f"/admin/subjects/{path}").json()["summary"]["episode_count"] == 1
    assert http.get(f"/admin/subjects/{path}/episodes").json()["total"] == 1
    timeline = http.get(f"/admin/subjects/{path}/sessions/ticket%2F7/timeline").json()
    assert (timeline["session_id"], timeline["episode_count"]) == ("ticket/7", 1)
    assert http.delete(f"/v1/subjects/{path}").json()["episodes_deleted"] == 1


def test_an_id_that_ends_like_another_path(client: StatewaveClient, http: httpx.Client) -> None:
    says(client, "s", "user", "Hello", at="2026-05-01T09:00:00Z", subject="team/sla")
    assert http.get("/admin/subjects/team%2Fsla").json()["summary"]["episode_count"] == 1
    assert http.get("/v1/subjects/team%2Fsla/sla").json()["total_sessions"] == 1


def test_what_answers_get_answers_head(http: httpx.Client) -> None:
    answer = http.head("/v1/subjects/ada/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_method_that_is_not_possible_there(http: httpx.Client) -> None:
    answer = http.get("/v1/subjects/ada")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE")
    assert http.post("/v1/subjects/ada/health").status_code == 405


def test_operators_see_subjects_and_what_came_of_what(client: StatewaveClient, http: httpx.Client) -> None:
    says(client, "a", "user", "My name is Ada Moreau and I work at Globex.", at="2026-05-01T09:00:00Z")
    client.compile_memories("ada")
    client.create_resolution("ada", "a", status="resolved")
    client.get_health("ada")
    (row,) = http.get("/admin/subjects", params={"health_state": "healthy", "sort_by": "last_activity"}).json()[
        "subjects"
    ]
    assert (row["subject_id"], row["session_count"], row["open_sessions"], row["health_score"]) == ("ada", 1, 0, 100)

    memories = http.get("/admin/subjects/ada/memories").json()
    memory = memories["memories"][0]
    assert memories["total"] == len(memories["memories"])
    (episode,) = http.get("/admin/subjects/ada/episodes").json()["episodes"]
    cited = http.get(f"/admin/subjects/ada/episodes/{episode['id']}/citing-memories").json()
    assert cited["total"] == memories["total"]
    related = http.get(f"/admin/subjects/ada/memories/{memory['id']}/related").json()
    assert (related["memory_id"], related["source_episode_count"]) == (memory["id"], 1)
    timeline = http.get("/admin/subjects/ada/sessions/a/timeline").json()
    assert [event["event_type"] for event in timeline["events"]] == ["episode", "resolution"]
    assert timeline["events"][0]["citing_memory_count"] == memories["total"]
    assert http.get("/admin/subjects/ada/episodes/x/citing-memories").status_code == 400
    assert http.get(f"/admin/subjects/ada/memories/{uuid4()}/related").status_code == 404
    assert http.get("/admin/subjects/ada/sla").json()["total_sessions"] == 1


def test_an_operator_without_a_tenant_sees_all(
    running_stack: RunningStack, client: StatewaveClient, tenant: str
) -> None:
    subject = f"only-{tenant}"
    says(client, "a", "user", "Hello", at="2026-05-01T09:00:00Z", subject=subject)
    found = httpx.get(f"{running_stack.base_url}/admin/subjects", params={"search": subject}).json()
    assert [(row["tenant_id"], row["subject_id"]) for row in found["subjects"]] == [(tenant, subject)]
    detail = httpx.get(f"{running_stack.base_url}/admin/subjects/{subject}").json()
    assert (detail["tenant_id"], detail["summary"]["episode_count"]) == (tenant, 1)
    elsewhere = httpx.get(f"{running_stack.base_url}/admin/subjects/{subject}", params={"tenant_id": "other"})
    assert elsewhere.json()["summary"]["episode_count"] == 0


def test_templates_become_episodes(http: httpx.Client) -> None:
    templates = http.get("/v1/memory-templates").json()["templates"]
    assert [template["id"] for template in templates] == sorted(template["id"] for template in templates)
    assert len(templates) >= 5
    assert http.get("/v1/memory-templates/user-preference").json()["episode_type"] == "profile.preference"
    assert http.get("/v1/memory-templates/none").status_code == 404
    body: dict[str, Any] = {"subject_id": "ada", "values": {"subject": "meetings", "preference": "mornings"}}
    applied = http.post("/v1/memory-templates/user-preference/apply", json=body)
    assert applied.status_code == 201
    assert applied.json()["payload"]["content"] == "User preference (meetings: mornings)"
    refused = http.post(
        "/v1/memory-templates/user-preference/apply", json=body | {"values": {"subject": "x", "y": "z"}}
    )
    assert refused.status_code == 422
    assert [problem["loc"][-1] for problem in refused.json()["error"]["details"]] == ["y", "preference"]


def test_workers_notice_by_themselves(running_stack: RunningStack, client: StatewaveClient, tenant: str) -> None:
    """Nobody asks for the health of this customer: the worker does, after the changes have come in."""
    for number in range(3):
        says(client, f"s{number}", "user", "It does not work", at="2026-05-01T09:00:00Z")
        client.create_resolution("ada", f"s{number}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    state = None
    while state is None and time.monotonic() < deadline:
        with psycopg.connect(running_stack.database_url) as conn:
            state = conn.execute(
                "select score, alert_state from health_states where tenant_id = %s", (tenant,)
            ).fetchone()
        time.sleep(0.1)
    assert state == (40, "watch")
