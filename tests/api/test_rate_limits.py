"""Limits over HTTP: who is refused, what the headers say, and what a limit never touches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import falcon.testing
import pytest
import redis

from api.app import PROBE_PATHS, create_app
from config.settings import Settings
from pipelines.rate_limits.buckets import Bucket, MemoryBuckets, Standing
from pipelines.rate_limits.limiter import RateLimiter
from pipelines.services import Services
from storage import tenant_configs
from storage.transactions import operator_transaction
from tests.api.conftest import MakeClient

URL = "/v1/timeline?subject_id=ada"

MINUTE = 60_000_000


class Clocked:
    """Buckets in memory with a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 1_773_480_000_000_000
        self.failing = False
        self._buckets = MemoryBuckets()

    def take(self, buckets: Sequence[Bucket], *, now: int | None = None) -> list[Standing]:
        if self.failing:
            raise redis.ConnectionError
        return self._buckets.take(buckets, now=self.now)


@pytest.fixture
def buckets() -> Clocked:
    return Clocked()


@pytest.fixture
def limited(services: Services, buckets: Clocked) -> MakeClient:
    """Clients of an application with the limits given as settings."""

    def make(**changes: Any) -> falcon.testing.TestClient:
        settings = Settings(**changes)
        own = Services(settings=settings, pool=services.pool, embedder=None, ping_broker=lambda: None)
        return falcon.testing.TestClient(create_app(own, limiter=RateLimiter(buckets)))

    return make


def ask(client: falcon.testing.TestClient, url: str = URL, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.simulate_get(url, headers=named, remote_addr="127.0.0.1")


def test_without_limits_nothing_is_said_of_them(client: falcon.testing.TestClient) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.lower().startswith("ratelimit")]


def test_what_remains_is_said_on_success_and_on_refusal(limited: MakeClient, buckets: Clocked) -> None:
    client = limited(rate_limit_rpm=3)
    first = ask(client)
    assert first.status_code == 200
    assert first.headers["ratelimit-policy"] == '"ip";q=3;w=60'
    assert first.headers["ratelimit"] == '"ip";r=2;t=20'
    assert [first.headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "reset")] == ["3", "2", "20"]
    ask(client), ask(client)
    buckets.now += 500_000
    refused = ask(client)
    assert refused.status_code == 429
    assert refused.json["error"]["code"] == "rate_limited"
    assert "at most 3 requests a minute" in refused.json["error"]["message"]
    assert refused.headers["retry-after"] == "20"
    assert refused.headers["ratelimit"] == '"ip";r=0;t=60'
    assert refused.headers["x-request-id"] == refused.json["error"]["request_id"]
    buckets.now += 19_499_999
    assert ask(client).headers["retry-after"] == "1"
    buckets.now += 1
    assert ask(client).status_code == 200


def test_an_answer_that_fails_says_it_too(limited: MakeClient) -> None:
    client = limited(rate_limit_rpm=10)
    for url, status in (("/v1/timeline", 422), ("/v1/nowhere", 404)):
        answer = ask(client, url)
        assert (answer.status_code, "ratelimit-remaining" in answer.headers) == (status, True)


def test_all_limits_of_a_request_are_named_and_the_tightest_apart(limited: MakeClient) -> None:
    client = limited(rate_limit_rpm=10, rate_limit_key_rpm=5, rate_limit_tenant_rpm=7, api_key="s3cret")
    answer = ask(client, X_API_Key="s3cret", X_Tenant_ID="acme")
    assert answer.headers["ratelimit-policy"] == '"ip";q=10;w=60, "key";q=5;w=60, "tenant";q=7;w=60'
    assert answer.headers["ratelimit"] == '"ip";r=9;t=6, "key";r=4;t=12, "tenant";r=6;t=9'
    assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("5", "4")


@pytest.mark.parametrize("path", sorted(PROBE_PATHS))
def test_probes_are_never_limited(limited: MakeClient, path: str) -> None:
    client = limited(rate_limit_rpm=1, rate_limit_tenant_rpm=1)
    for _ in range(3):
        answer = ask(client, path)
        assert answer.status_code in (200, 503) and "ratelimit" not in answer.headers
    assert ask(client).status_code == 200


def test_addresses_are_told_apart_behind_a_trusted_proxy_only(limited: MakeClient) -> None:
    behind = limited(rate_limit_rpm=1, trusted_proxies=("127.0.0.1",))
    statuses = [ask(behind, X_Forwarded_For=f"203.0.113.{i}, 198.51.100.1").status_code for i in range(3)]
    assert statuses == [200, 429, 429]
    assert ask(behind, X_Forwarded_For="198.51.100.2").status_code == 200
    open_door = limited(rate_limit_rpm=1)
    assert [ask(open_door, X_Forwarded_For=f"198.51.100.{i}").status_code for i in range(3)] == [200, 429, 429]


def test_tenants_do_not_use_up_each_others_limit(limited: MakeClient) -> None:
    client = limited(rate_limit_tenant_rpm=1)
    assert [ask(client, X_Tenant_ID=tenant).status_code for tenant in ("acme", "globex", "acme")] == [200, 200, 429]
    assert ask(client).status_code == 200


def test_operators_are_not_held_to_the_limits_of_a_tenant(limited: MakeClient) -> None:
    client = limited(rate_limit_tenant_rpm=1)
    assert [ask(client, "/admin/subjects", X_Tenant_ID="acme").status_code for _ in range(3)] == [200] * 3


def test_a_tenant_may_have_a_limit_of_its_own(limited: MakeClient, services: Services) -> None:
    with operator_transaction(services.pool) as conn:
        tenant_configs.change(conn, "acme", {"rate_limit_rpm": 2})
        tenant_configs.change(conn, "globex", {"rate_limit_rpm": 0})
    for client in (limited(), limited(rate_limit_tenant_rpm=1)):
        assert ask(client, X_Tenant_ID="acme").headers["ratelimit-limit"] == "2"
        assert "ratelimit" not in ask(client, X_Tenant_ID="globex").headers


def test_guessing_keys_is_limited_per_address(limited: MakeClient) -> None:
    client = limited(rate_limit_rpm=2, api_key="s3cret")
    statuses = [ask(client, X_API_Key=f"guess-{i}").status_code for i in range(4)]
    assert statuses == [403, 403, 429, 429]
    assert ask(client, X_API_Key="s3cret").status_code == 429
    assert ask(client).status_code == 429
    assert ask(client, "/healthz").status_code == 200


def test_whoever_is_refused_for_another_reason_counts_as_well(limited: MakeClient) -> None:
    client = limited(rate_limit_rpm=2, require_tenant=True)
    assert [ask(client).status_code for _ in range(3)] == [400, 400, 429]


def test_without_redis_everybody_is_let_through_and_counted(limited: MakeClient, buckets: Clocked) -> None:
    from config.counters import RATE_LIMIT_CHECKS

    def failed_open() -> float:
        return RATE_LIMIT_CHECKS.labels("ip", "failed_open")._value.get()

    client = limited(rate_limit_rpm=1)
    ask(client)
    buckets.failing = True
    before = failed_open()
    answers = [ask(client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "ratelimit" not in answers[0].headers
    assert failed_open() - before == 3


def test_a_browser_may_read_what_remains(limited: MakeClient) -> None:
    answer = ask(limited(rate_limit_rpm=5), Origin="https://app.example.com")
    exposed = set(re.split(r",\s*", answer.headers["access-control-expose-headers"]))
    assert {"RateLimit", "RateLimit-Policy", "RateLimit-Remaining", "Retry-After", "X-Quota-Warning"} <= exposed


def test_a_refused_request_is_answered_before_its_body_is_read(limited: MakeClient) -> None:
    client = limited(rate_limit_rpm=1)
    ask(client)
    answer = client.simulate_post("/v1/episodes", body=b"not json", remote_addr="127.0.0.1")
    assert answer.status_code == 429


def test_every_operation_that_can_be_refused_is_documented_so(client: falcon.testing.TestClient) -> None:
    document = client.simulate_get("/openapi.json").json
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("429" in operation["responses"]) == (path not in PROBE_PATHS), path
            if "429" in operation["responses"]:
                assert "Retry-After" in operation["responses"]["429"]["headers"]
