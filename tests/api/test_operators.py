"""What operators read and do over HTTP (contract: governance §9.5, §13, §14, and beyond it)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import falcon.testing
import pytest

from pipelines.services import Services
from storage import runs
from storage.transactions import operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode

Client = falcon.testing.TestClient
JOB_FIELDS = {
    *("job_id", "subject_id", "tenant_id", "status", "memories_created"),
    *("error", "created_at", "started_at", "completed_at"),
}


@pytest.fixture
def manual(make_client: MakeClient) -> Client:
    """A client of an API that compiles nothing by itself."""
    return make_client(auto_compile_after_seconds=None)


def requested(client: Client, subject_id: str = "ada", tenant_id: str = "acme") -> str:
    headers = {"X-Tenant-ID": tenant_id}
    client.simulate_post("/v1/episodes", json=episode(subject_id=subject_id), headers=headers)
    answer = client.simulate_post(
        "/v1/memories/compile", json={"subject_id": subject_id, "async": True}, headers=headers
    )
    return str(answer.json["job_id"])


def fail(services: Services) -> None:
    """Every run that waits becomes a dead letter."""
    with operator_transaction(services.pool) as conn:
        for (run_id,) in conn.execute("select id from runs where state = 'pending'").fetchall():
            run = runs.claim(conn, run_id, stage=None, lease=timedelta(seconds=30))
            assert run is not None
            runs.fail(conn, run, error="ValueError: broken")


def test_jobs_are_listed_with_the_fields_of_the_contract(manual: Client, services: Services) -> None:
    job_id = requested(manual)
    fail(services)
    requested(manual, "bob", "globex")
    listed = manual.simulate_get("/admin/jobs").json
    assert (listed["total"], listed["limit"], listed["offset"]) == (2, 50, 0)
    assert all(set(job) == JOB_FIELDS for job in listed["jobs"])
    newest, oldest = listed["jobs"]
    assert (newest["subject_id"], newest["status"], newest["tenant_id"]) == ("bob", "pending", "globex")
    assert (oldest["job_id"], oldest["status"], oldest["error"]) == (job_id, "failed", "ValueError: broken")


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ({"status": "failed"}, ["ada"]),
        ({"tenant_id": "globex"}, ["bob"]),
        ({"subject_id": "ada"}, ["ada"]),
        ({"status": "completed"}, []),
        ({"limit": 1, "offset": 1}, ["ada"]),
    ],
)
def test_jobs_are_found_by_filter_and_page(
    manual: Client, services: Services, query: dict[str, Any], subjects: list[str]
) -> None:
    requested(manual)
    fail(services)
    requested(manual, "bob", "globex")
    listed = manual.simulate_get("/admin/jobs", params=query).json
    assert [job["subject_id"] for job in listed["jobs"]] == subjects


@pytest.mark.parametrize("query", [{}, {"status": "running"}, {"status": "pending", "tenant_id": "acme"}])
def test_a_purge_needs_a_filter_and_touches_only_what_is_finished(manual: Client, query: dict[str, str]) -> None:
    requested(manual)
    answer = manual.simulate_delete("/admin/jobs", params=query)
    assert answer.status_code == 400
    assert answer.json["error"]["code"] == "bad_request"
    assert manual.simulate_get("/admin/jobs").json["total"] == 1


def test_finished_jobs_are_purged(manual: Client, services: Services) -> None:
    requested(manual)
    fail(services)
    requested(manual, "bob")
    assert manual.simulate_delete("/admin/jobs", params={"tenant_id": "acme"}).json == {"deleted": 1}
    (left,) = manual.simulate_get("/admin/jobs").json["jobs"]
    assert left["subject_id"] == "bob"
    assert manual.simulate_delete(f"/admin/jobs/{left['job_id']}").status_code == 409
    assert manual.simulate_delete(f"/admin/jobs/{uuid4()}").status_code == 404
    fail(services)
    assert manual.simulate_delete(f"/admin/jobs/{left['job_id']}").json == {"deleted": 1}


def test_stuck_jobs_are_reset(manual: Client) -> None:
    assert manual.simulate_post("/admin/jobs/reset-stuck").json == {"reset": 0, "job_ids": []}


def test_a_run_is_shown_cancelled_and_retried(manual: Client) -> None:
    run_id = requested(manual)
    shown = manual.simulate_get(f"/admin/runs/{run_id}").json
    assert shown["state"] == "pending" and shown["errors"] == [] and shown["timings"] == {}
    assert manual.simulate_post(f"/admin/runs/{run_id}/cancel").json["state"] == "cancelled"
    assert manual.simulate_post(f"/admin/runs/{run_id}/cancel").status_code == 409
    assert manual.simulate_post(f"/admin/runs/{run_id}/retry").json["state"] == "pending"
    assert manual.simulate_post(f"/admin/runs/{run_id}/retry").status_code == 409
    assert manual.simulate_get(f"/admin/runs/{uuid4()}").status_code == 404
    assert manual.simulate_get("/admin/runs/nonsense").status_code == 422


def test_runs_are_paged_by_cursor(manual: Client) -> None:
    ids = [requested(manual, f"s{number}") for number in range(5)]
    seen, cursor = [], None
    while True:
        page = manual.simulate_get("/admin/runs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json
        seen += [run["id"] for run in page["runs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_dead_letters_are_retried_by_filter(manual: Client, services: Services) -> None:
    requested(manual, "ada", "acme")
    requested(manual, "bob", "globex")
    fail(services)
    assert manual.simulate_post("/admin/runs/retry", params={"tenant_id": "globex"}).json == {"retried": 1}
    assert manual.simulate_post("/admin/runs/retry").json == {"retried": 1}


def test_a_queue_is_paused_and_resumed(manual: Client) -> None:
    paused = manual.simulate_post("/admin/queues/compile/pause", params={"reason": "upgrade"}).json
    (compile_queue,) = [row for row in paused["queues"] if row["queue"] == "compile"]
    assert (compile_queue["paused"], compile_queue["pause_reason"]) == (True, "upgrade")
    resumed = manual.simulate_post("/admin/queues/compile/resume").json
    assert not any(row["paused"] for row in resumed["queues"])
    assert manual.simulate_post("/admin/queues/lunch/pause").status_code == 422


def test_a_synchronous_compile_works_while_the_queue_is_paused(manual: Client) -> None:
    manual.simulate_post("/v1/episodes", json=episode())
    manual.simulate_post("/admin/queues/compile/pause")
    answer = manual.simulate_post("/v1/memories/compile", json={"subject_id": episode()["subject_id"]})
    assert answer.status_code == 200


def test_schedules_and_migrations_are_shown(manual: Client) -> None:
    assert manual.simulate_get("/admin/schedules").json == {"schedules": []}
    migrations = manual.simulate_get("/ops/migrations").json
    assert migrations["is_compatible"] is True
    assert migrations["current_revision"] == migrations["expected_head"]
    assert (migrations["pending_count"], migrations["pending_revisions"], migrations["error"]) == (0, [], None)
    assert migrations["summary"] == "Schema is up to date"


def test_metrics_tell_queues_and_routes_and_no_tenant(manual: Client) -> None:
    requested(manual, "customer:42", "secret-tenant")
    text = manual.simulate_get("/metrics").text
    assert 'statewave_queue_ready{queue="compile"} 1.0' in text
    assert 'statewave_http_requests_total{method="POST",route="/v1/episodes",status="201"}' in text
    assert "statewave_database_up 1.0" in text
    assert "secret-tenant" not in text and "customer" not in text


@pytest.mark.parametrize("path", ["/metrics", "/admin/jobs", "/admin/queues", "/ops/migrations"])
def test_operators_need_the_key_but_no_tenant(make_client: MakeClient, path: str) -> None:
    client = make_client(api_key="open sesame", require_tenant=True)
    assert client.simulate_get(path).status_code == 401
    assert client.simulate_get(path, headers={"X-API-Key": "open sesame"}).status_code == 200


def test_a_trace_goes_into_the_run(manual: Client) -> None:
    sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    manual.simulate_post("/v1/episodes", json=episode())
    job = manual.simulate_post(
        "/v1/memories/compile",
        json={"subject_id": episode()["subject_id"], "async": True},
        headers={"traceparent": sent, "X-Request-ID": "r-17"},
    ).json
    run = manual.simulate_get(f"/admin/runs/{job['job_id']}").json
    assert run["traceparent"].split("-")[1] == sent.split("-")[1]
    assert run["request_id"] == "r-17"


@pytest.mark.parametrize("path", ["/admin/jobs", "/admin/runs", "/admin/subjects", "/admin/keys", "/admin/audit"])
def test_a_list_is_of_the_tenant_that_the_query_else_the_header_names(manual: Client, path: str) -> None:
    """A hyphen names the tenant of requests that name none."""
    for tenant_id in ("acme", ""):
        requested(manual, f"ada-of-{tenant_id or 'nobody'}", tenant_id)
        key = {"name": f"ada-of-{tenant_id or 'nobody'}", "tenant_id": tenant_id or "-"}
        assert manual.simulate_post("/admin/keys", json=key).status_code == 201

    def shown(**request: Any) -> set[str]:
        text = manual.simulate_get(path, **request).text
        return {name for name in ("ada-of-acme", "ada-of-nobody") if name in text}

    assert shown() == {"ada-of-acme", "ada-of-nobody"}
    assert shown(params={"tenant_id": "acme"}) == {"ada-of-acme"}
    assert shown(headers={"X-Tenant-ID": "acme"}) == {"ada-of-acme"}
    assert shown(params={"tenant_id": "-"}) == {"ada-of-nobody"}
    assert shown(params={"tenant_id": "-"}, headers={"X-Tenant-ID": "acme"}) == {"ada-of-nobody"}
