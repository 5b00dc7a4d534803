"""`POST /v1/llm/complete`: the configured model's answer with what it used, or a clear word why there is none."""

from __future__ import annotations

import dataclasses
from typing import Any

import falcon.testing
import pytest
import redis

from api.app import create_app
from pipelines.services import Services
from storage.transactions import operator_transaction
from tests.fixtures.desk import with_provider
from tests.fixtures.provider import Provider, fails, rate_limited, slow

PATH = "/v1/llm/complete"
BODY = {"messages": [{"role": "user", "content": "Say pong, my secret is 4711"}]}


@pytest.fixture
def model_client(remote: Services) -> falcon.testing.TestClient:
    settings = dataclasses.replace(remote.settings, litellm_model="openai/tiny", litellm_timeout_seconds=1.0)
    return falcon.testing.TestClient(create_app(dataclasses.replace(remote, settings=settings)))


def post(client: falcon.testing.TestClient, body: Any = BODY) -> falcon.testing.Result:
    return client.simulate_post(PATH, json=body, headers={"X-Tenant-ID": "acme"})


def test_the_answer_comes_with_model_and_usage(
    model_client: falcon.testing.TestClient, provider: Provider, services: Services
) -> None:
    answer = post(model_client, BODY | {"max_tokens": 7, "temperature": 0.5})
    assert answer.status_code == 200, answer.text
    assert answer.json["reply"] == "pong"
    usage = answer.json["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    sent = provider.calls("chat")[0].body
    assert (sent["max_tokens"], sent["temperature"]) == (7, 0.5)
    with operator_transaction(services.pool) as conn:
        rows = conn.execute("select tenant_id, kind, outcome from provider_calls").fetchall()
    assert rows == [("acme", "completion", "ok")]


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (fails(500), 502, "upstream_llm_error"),
        (fails(401, code="invalid_api_key"), 502, "upstream_llm_error"),
        (rate_limited("7"), 503, "llm_unavailable"),
        (slow(4.0), 504, "upstream_llm_timeout"),
    ],
    ids=["500", "401", "429", "slow"],
)
def test_failures_are_told_apart(
    model_client: falcon.testing.TestClient, provider: Provider, behaviour: Any, status: int, code: str
) -> None:
    provider.then(behaviour)
    answer = post(model_client)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)
    assert "4711" not in answer.text
    if status == 503:
        assert answer.headers["Retry-After"] == "7"


def test_without_a_model_it_says_what_to_set(client: falcon.testing.TestClient) -> None:
    answer = post(client)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "llm_not_configured")
    assert "STATEWAVE_LITELLM_API_KEY" in answer.json["error"]["message"]


def test_without_workers_it_says_so_at_once(services: Services, redis_client: redis.Redis, provider: Provider) -> None:
    alone = falcon.testing.TestClient(create_app(with_provider(services, redis_client, provider)))
    answer = post(alone)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "llm_unavailable")
    assert "no_worker_for_llm" in answer.json["error"]["message"]


def test_a_spent_budget_is_429_until_midnight(remote: Services, provider: Provider) -> None:
    settings = dataclasses.replace(remote.settings, llm_daily_budget_tokens=0)
    answer = post(falcon.testing.TestClient(create_app(dataclasses.replace(remote, settings=settings))))
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "budget_exhausted")
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert provider.calls("chat") == []


def test_content_is_never_logged(
    model_client: falcon.testing.TestClient, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.then(fails(500, message="your secret is 4711"))
    post(model_client)
    post(model_client)
    printed = capsys.readouterr()
    assert "4711" not in printed.out + printed.err and "pong" not in printed.out + printed.err


def test_limits_of_the_contract(client: falcon.testing.TestClient) -> None:
    message = {"role": "user", "content": "x"}
    for body in (
        {"messages": []},
        {"messages": [message] * 51},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x" * 16_001}]},
        {"messages": [message], "max_tokens": 4097},
        {"messages": [message], "temperature": 2.5},
    ):
        assert post(client, body).status_code == 422
