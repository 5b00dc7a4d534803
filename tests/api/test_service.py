"""The server about itself (contract: core §6.16, governance §13)."""

from __future__ import annotations

import dataclasses
import re

import falcon.testing
import pytest

from api.app import create_app
from pipelines.services import Services

Client = falcon.testing.TestClient


@pytest.mark.parametrize("path", ["/healthz", "/health"])
def test_the_process_answers(doorstep: Client, path: str) -> None:
    assert doorstep.simulate_get(path).json == {"status": "ok"}


@pytest.mark.parametrize(
    "path", ["/healthz", "/health", "/readyz", "/ready", "/v1/version", "/v1/subjects", "/v1/subjects/a/health"]
)
def test_probes_may_ask_with_head(client: Client, path: str) -> None:
    answer = client.simulate_head(path)
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("path", ["/readyz", "/ready"])
def test_a_server_with_all_it_needs_is_ready(client: Client, path: str) -> None:
    answer = client.simulate_get(path)
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    assert {"database", "queue"} <= {check["name"] for check in answer.json["checks"]}


def test_without_its_database_it_is_not(doorstep: Client) -> None:
    answer = doorstep.simulate_get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "not_ready")
    (database,) = [check for check in answer.json["checks"] if check["name"] == "database"]
    assert database["status"] == "fail"
    assert database["detail"]


def test_without_its_broker_it_serves_worse_but_serves(services: Services) -> None:
    def away() -> None:
        raise ConnectionError("redis")

    answer = Client(create_app(dataclasses.replace(services, ping_broker=away))).simulate_get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")


def test_the_version_and_the_contract(doorstep: Client) -> None:
    answer = doorstep.simulate_get("/v1/version").json
    assert answer["api_contract"] == "v1"
    assert answer["version"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_needs_no_other_server(doorstep: Client, path: str) -> None:
    answer = doorstep.simulate_get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
