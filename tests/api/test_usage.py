"""What requests use is counted, monthly quotas hold, and operators see all of it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import falcon.testing
import pytest

from config.clock import utcnow
from pipelines.provider_usage import record_call
from pipelines.quotas import write_usage
from pipelines.services import Services
from storage import tenant_configs
from storage.transactions import operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

ACME = {"X-Tenant-ID": "acme"}


@pytest.fixture
def client(make_client: MakeClient) -> falcon.testing.TestClient:
    """A client of an application in which nothing is compiled unasked."""
    return make_client(auto_compile_after_seconds=None)


def post(client: falcon.testing.TestClient, path: str, body: Any) -> Any:
    return client.simulate_post(path, json=body, headers=ACME)


def usage(client: falcon.testing.TestClient, services: Services, **query: Any) -> Any:
    write_usage(services)
    answer = client.simulate_get("/admin/usage", params={"tenant_id": "acme", **query})
    assert answer.status_code == 200, answer.text
    return answer.json


def configure(services: Services, **quotas: int) -> None:
    with operator_transaction(services.pool) as conn:
        tenant_configs.change(conn, "acme", {"monthly_quotas": quotas})


def test_what_requests_use_is_counted_once_each(client: falcon.testing.TestClient, services: Services) -> None:
    for _ in range(2):
        assert post(client, "/v1/episodes", episode(idempotency_key="once")).status_code == 201
    batch = [episode(), episode(subject_id="bob"), episode(idempotency_key="once")]
    assert post(client, "/v1/episodes/batch", {"episodes": batch}).status_code == 201
    assert post(client, "/v1/memories/compile", {"subject_id": "ada"}).status_code == 200
    context = post(client, "/v1/context", {"subject_id": "ada", "task": "greet her"}).json
    brief = post(client, "/v1/handoff", {"subject_id": "ada", "session_id": "s"}).json
    client.simulate_get("/v1/memories/search", params={"subject_id": "ada", "q": "name"}, headers=ACME)
    client.simulate_get("/healthz")
    client.simulate_get("/admin/subjects", headers=ACME)
    report = usage(client, services)

    def today(meter: str) -> int:
        counted = report[meter]
        # A test that begins before midnight and ends after it counts on two days.
        assert counted["today"] <= counted["7d"] == counted["30d"]
        return int(counted["7d"])

    assert {meter: today(meter) for meter in ("requests", "episodes", "contexts", "searches", "compile_jobs")} == {
        "requests": 7,
        "episodes": 3,
        "contexts": 2,
        "searches": 1,
        "compile_jobs": 1,
    }
    assert today("tokens_delivered") == context["token_estimate"] + brief["token_estimate"]
    assert today("memories") == report["memories"]["total"] > 0
    assert report["episodes"]["total"] == 3
    assert report["active_subjects"] == {"7d": 2, "30d": 2, "total": 2}
    other = usage(client, services, tenant_id="globex")
    assert other["requests"]["total"] == other["episodes"]["total"] == other["active_subjects"]["total"] == 0


def test_erasing_does_not_take_back_what_was_used(client: falcon.testing.TestClient, services: Services) -> None:
    post(client, "/v1/episodes", episode())
    client.simulate_delete("/v1/subjects/ada", headers=ACME)
    report = usage(client, services)
    assert (report["episodes"]["7d"], report["episodes"]["total"]) == (1, 0)


def test_the_report_has_the_shape_of_the_contract(client: falcon.testing.TestClient, services: Services) -> None:
    write_usage(services)
    report = client.simulate_get("/admin/usage").json
    assert report["tenant_id"] is None
    assert report["period_start"].endswith("-01T00:00:00Z") and report["generated_at"] >= report["period_start"]
    for meter in ("episodes", "memories", "compile_jobs", "webhooks"):
        assert report[meter] == {"today": 0, "7d": 0, "30d": 0, "total": 0}
    assert report["active_subjects"] == {"7d": 0, "30d": 0, "total": 0}
    assert report["quotas"] == [] and report["providers"]["budget"] is None


def test_a_quota_refuses_and_says_until_when(client: falcon.testing.TestClient, services: Services) -> None:
    configure(services, episodes=3)
    first = post(client, "/v1/episodes", episode())
    assert first.status_code == 201
    assert first.headers["ratelimit"].startswith('"monthly_episodes";r=2;t=')
    assert "x-quota-warning" not in first.headers
    too_many = post(client, "/v1/episodes/batch", {"episodes": [episode()] * 3})
    assert too_many.status_code == 429
    error = too_many.json["error"]
    assert error["code"] == "quota_exceeded"
    assert "3 episodes a month allows no more than 2" in error["message"]
    assert 0 < int(too_many.headers["retry-after"]) <= 31 * 86_400
    assert post(client, "/v1/episodes/batch", {"episodes": [episode()] * 2}).status_code == 201
    last = post(client, "/v1/episodes", episode())
    assert last.status_code == 429
    assert last.headers["x-quota-warning"] == "episodes=3/3"
    # Nothing else is bounded, nor anybody else.
    assert post(client, "/v1/context", {"subject_id": "ada", "task": "greet"}).status_code == 200
    assert client.simulate_post("/v1/episodes", json=episode()).status_code == 201
    write_usage(services)
    (quota,) = usage(client, services)["quotas"]
    assert (quota["meter"], quota["limit"], quota["used"], quota["remaining"]) == ("episodes", 3, 3, 0)
    configure(services, episodes=4)
    write_usage(services)
    near = post(client, "/v1/episodes", episode())
    assert (near.status_code, near.headers["x-quota-warning"]) == (201, "episodes=4/4")


@pytest.mark.parametrize(
    ("quota", "path", "body"),
    [
        ("contexts", "/v1/context", {"subject_id": "ada", "task": "greet"}),
        ("contexts", "/v1/handoff", {"subject_id": "ada", "session_id": "s"}),
        ("tokens_delivered", "/v1/context", {"subject_id": "ada", "task": "greet"}),
        ("searches", "/v1/memories/search?subject_id=ada", None),
        ("requests", "/v1/timeline?subject_id=ada", None),
    ],
)
def test_each_quota_holds(
    client: falcon.testing.TestClient, services: Services, quota: str, path: str, body: Any
) -> None:
    configure(services, **{quota: 1})
    method = "POST" if body else "GET"
    statuses = [client.simulate_request(method, path, json=body, headers=ACME).status_code for _ in range(2)]
    assert statuses == [200, 429]


def test_a_request_that_is_not_valid_is_told_so_before_its_quota(
    client: falcon.testing.TestClient, services: Services
) -> None:
    configure(services, episodes=0)
    assert post(client, "/v1/episodes", {}).status_code == 422
    assert post(client, "/v1/episodes", episode()).status_code == 429


def test_what_providers_cost_is_reported_by_group(client: falcon.testing.TestClient, services: Services) -> None:
    now = utcnow()
    for tenant, model, cost in (("acme", "large", "0.25"), ("acme", "small", "0.5"), ("globex", "small", "1")):
        record_call(
            services.pool,
            tenant_id=tenant,
            subject_id="ada",
            kind="completion",
            provider="openai",
            model=model,
            input_tokens=100,
            output_tokens=10,
            cost_usd=Decimal(cost),
            latency_ms=300,
            at=now,
        )
    today = now.date()
    days = {"from": str(today - timedelta(days=1)), "to": str(today)}
    providers = usage(client, services, **days)["providers"]
    assert (providers["from"], providers["to"], providers["group_by"]) == (days["from"], days["to"], "model")
    assert [(group["key"], group["cost_usd"]) for group in providers["groups"]] == [("small", 0.5), ("large", 0.25)]
    assert providers["total"] == {
        "key": "",
        "calls": 2,
        "failed_calls": 0,
        "unpriced_calls": 0,
        "input_tokens": 200,
        "output_tokens": 20,
        "cost_usd": 0.75,
        "mean_latency_ms": 300,
    }
    everybody = client.simulate_get("/admin/usage", params={**days, "group_by": "tenant", "limit": 1}).json["providers"]
    assert [(group["key"], group["cost_usd"]) for group in everybody["groups"]] == [("globex", 1.0)]
    assert everybody["total"]["cost_usd"] == 1.75
    for by, key in (("day", str(today)), ("subject", "ada")):
        assert [group["key"] for group in usage(client, services, group_by=by, **days)["providers"]["groups"]] == [key]
    long_ago = usage(client, services, **{"from": "2001-01-01", "to": "2001-12-31"})["providers"]
    assert long_ago["groups"] == [] and long_ago["total"]["calls"] == 0


def test_the_budget_of_a_tenant_is_reported(make_client: MakeClient, services: Services) -> None:
    client = make_client(llm_daily_budget_usd=Decimal("2.5"))
    budget = usage(client, services)["providers"]["budget"]
    assert (budget["limit_usd"], budget["limit_tokens"], budget["spent_usd"], budget["exhausted"]) == (
        2.5,
        None,
        0.0,
        None,
    )


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"from": "2026-03-14", "to": "2026-03-13"}, "query.to"),
        ({"from": "yesterday"}, "query.from"),
        ({"to": "2026-02-30"}, "query.to"),
        ({"group_by": "planet"}, "query.group_by"),
        ({"limit": "0"}, "query.limit"),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    client: falcon.testing.TestClient, query: dict[str, str], place: str
) -> None:
    assert place in problems(client.simulate_get("/admin/usage", params=query))
