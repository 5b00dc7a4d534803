"""Browsers of configured origins may call (contract: core §2.1)."""

from __future__ import annotations

import pytest

from tests.api.conftest import MakeClient

PREFLIGHT = {
    "Origin": "https://app.example.com",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, x-api-key",
}


@pytest.mark.parametrize("path", ["/v1/episodes", "/v1/subjects/a/b", "/nothing"])
def test_a_preflight_is_answered_anywhere_and_before_a_key_is_asked_for(make_doorstep: MakeClient, path: str) -> None:
    client = make_doorstep(api_key="k", require_tenant=True)
    answer = client.simulate_options(path, headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "content-type, x-api-key"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/v1/timeline", 401), ("/nothing", 401)])
def test_answers_and_errors_alike_may_be_read(make_doorstep: MakeClient, path: str, status: int) -> None:
    answer = make_doorstep(api_key="k").simulate_get(path, headers={"Origin": "https://app.example.com"})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert answer.headers["vary"] == "Origin"
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def test_only_the_configured_origins_are_allowed(make_doorstep: MakeClient) -> None:
    client = make_doorstep(cors_origins=("https://app.example.com",))
    assert "access-control-allow-origin" in client.simulate_options("/v1/episodes", headers=PREFLIGHT).headers
    elsewhere = {**PREFLIGHT, "Origin": "https://evil.example.com"}
    for answer in (
        client.simulate_options("/v1/episodes", headers=elsewhere),
        client.simulate_get("/healthz", headers={"Origin": "https://evil.example.com"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_without_an_origin_nothing_is_said_about_origins(make_doorstep: MakeClient) -> None:
    answer = make_doorstep().simulate_get("/healthz")
    assert not [name for name in answer.headers if name.startswith("access-control")]
