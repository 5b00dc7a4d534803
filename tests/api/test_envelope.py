"""Every failure has one shape, a request id, and nothing of what was sent (contract: core §2.5)."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import re
from typing import Any

import falcon
import falcon.testing
import psycopg
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool, PoolTimeout
from structlog.testing import capture_logs

from api.app import create_app
from config import errors
from pipelines.services import Services
from tests.api.conftest import MakeClient
from tests.api.requests import episode

Client = falcon.testing.TestClient


def raising(client: Client, ex: BaseException) -> Client:
    """The same application with a route that fails with `ex`."""

    class Failing:
        def on_get(self, request: Any, response: Any) -> None:
            raise ex

    client.app.add_route("/failing", Failing())
    return client


def every_error(kind: type[errors.StatewaveError] = errors.StatewaveError) -> list[type[errors.StatewaveError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in every_error(below))]


@pytest.mark.parametrize("kind", every_error())
def test_each_of_our_errors_has_its_status_code_and_message(
    make_doorstep: MakeClient, kind: type[errors.StatewaveError]
) -> None:
    answer = raising(make_doorstep(), kind("Words for the caller", retry_after=7)).simulate_get("/failing")
    assert answer.status_code == kind.status
    assert answer.headers["retry-after"] == "7"
    assert answer.json["error"] == {
        "code": kind.code,
        "message": "Words for the caller",
        "request_id": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v2/anything", 404, "not_found"), ("PUT", "/v1/episodes", 405, "method_not_allowed")],
)
def test_wrong_paths_and_methods_get_the_envelope(
    doorstep: Client, method: str, path: str, status: int, code: str
) -> None:
    answer = doorstep.simulate_request(method, path)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)
    assert answer.json["error"]["request_id"] == answer.headers["x-request-id"]


def test_405_says_what_is_allowed(doorstep: Client) -> None:
    answer = doorstep.simulate_delete("/v1/subjects")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json["error"]["message"] == "DELETE is not possible here, but GET, HEAD, OPTIONS"


def test_404_of_a_path_with_one_slash_too_many_says_so(doorstep: Client) -> None:
    assert "slash" in doorstep.simulate_post("/v1/episodes/").json["error"]["message"]
    assert "slash" not in doorstep.simulate_post("/v1/episode").json["error"]["message"]


def test_404_in_any_language_a_client_accepts_is_json(doorstep: Client) -> None:
    answer = doorstep.simulate_get("/nothing", headers={"Accept": "text/xml"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "ex",
    [
        psycopg.OperationalError("connection refused"),
        psycopg.errors.QueryCanceled("statement timeout"),
        psycopg.errors.DeadlockDetected("deadlock"),
        psycopg.InterfaceError("the connection is lost"),
        errors.Unavailable(),
    ],
)
def test_a_database_that_does_not_serve_is_a_503_that_may_be_retried(make_doorstep: MakeClient, ex: Exception) -> None:
    answer = raising(make_doorstep(), ex).simulate_get("/failing")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "service_unavailable")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("ex", "words"),
    [
        (psycopg.OperationalError("connection refused"), "does not answer"),
        (psycopg.errors.QueryCanceled("statement timeout"), "STATEWAVE_STATEMENT_TIMEOUT_SECONDS"),
        (psycopg.errors.DeadlockDetected("deadlock"), "another request"),
        (PoolTimeout("busy"), "no connection"),
    ],
)
def test_a_503_says_what_the_database_is_at(make_doorstep: MakeClient, ex: Exception, words: str) -> None:
    assert words in raising(make_doorstep(), ex).simulate_get("/failing").json["error"]["message"]


def test_a_request_does_not_hang_while_the_database_is_away(services: Services) -> None:
    # A folder without a server in it; the pool gives up after the time it is told to.
    with ConnectionPool("host=/nonexistent", open=True, timeout=0.1, min_size=1, reconnect_timeout=0.1) as pool:
        client = Client(create_app(dataclasses.replace(services, pool=pool)))
        answer = client.simulate_post("/v1/episodes", json=episode())
        ready = client.simulate_get("/readyz")
    assert answer.status_code == 503
    assert (ready.status_code, ready.json["status"]) == (503, "not_ready")


def test_an_unexpected_error_is_logged_without_the_words_it_carries(make_doorstep: MakeClient) -> None:
    client = raising(make_doorstep(), RuntimeError("the customer's secret"))
    with capture_logs([structlog.contextvars.merge_contextvars]) as logged:
        answer = client.simulate_get("/failing")
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal_error")
    (event,) = [event for event in logged if event["log_level"] == "error"]
    assert event["error"] == "RuntimeError"
    assert event["request_id"] == answer.headers["x-request-id"]
    assert any("test_envelope.py" in place for place in event["at"])
    assert "secret" not in repr(logged) + answer.text


def test_a_body_beyond_the_limit_is_refused_unread(make_doorstep: MakeClient) -> None:
    client = make_doorstep(max_body_bytes=1024)
    answer = client.simulate_post("/v1/episodes", body="x" * 1025)
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "body_too_large")
    assert "1024" in answer.json["error"]["message"]


def in_chunks(client: Client, body: bytes, **environ: Any) -> Any:
    """Send a body without saying its length, as a server hands on a chunked one."""
    stream = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    return client.simulate_post("/v1/episodes", extras={**stream, **environ})


@pytest.mark.parametrize("path", ["/v1/episodes", "/admin/import"])
def test_a_compressed_body_is_refused_in_plain_words(doorstep: Client, path: str) -> None:
    compressed = gzip.compress(json.dumps(episode()).encode())
    answer = doorstep.simulate_post(path, body=compressed, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json["error"]["code"]) == (415, "unsupported_media_type")
    assert "'gzip'" in answer.json["error"]["message"]
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_may_come_in_chunks(client: Client) -> None:
    assert in_chunks(client, json.dumps(episode()).encode()).status_code == 201


def test_a_chunked_body_is_limited_too(make_doorstep: MakeClient) -> None:
    assert in_chunks(make_doorstep(max_body_bytes=1024), b" " * 1025).status_code == 413
    assert in_chunks(make_doorstep(max_body_bytes=1024), b" " * 1024).status_code == 422


def test_a_body_that_breaks_off_is_the_callers_fault(doorstep: Client) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError("by peer")

    answer = in_chunks(doorstep, b"", **{"wsgi.input": Broken()})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_request")


def test_a_request_id_is_made_up_when_none_is_sent(doorstep: Client) -> None:
    first, second = (doorstep.simulate_get("/healthz").headers["x-request-id"] for _ in range(2))
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first != second


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/v1/timeline", "/openapi.json"])
def test_a_request_id_that_is_sent_comes_back_with_every_answer(doorstep: Client, path: str) -> None:
    answer = doorstep.simulate_get(path, headers={"X-Request-ID": "order-66/a"})
    assert answer.headers["x-request-id"] == "order-66/a"


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
def test_a_request_id_is_never_more_than_128_printable_characters(doorstep: Client, sent: str) -> None:
    answer = doorstep.simulate_get("/healthz", headers={"X-Request-ID": sent})
    assert re.fullmatch("[ -~]{1,128}", answer.headers["x-request-id"])


def test_one_line_per_request_names_its_route_and_nothing_private(make_client: MakeClient) -> None:
    client = make_client(api_key="open sesame")
    with capture_logs([structlog.contextvars.merge_contextvars]) as logged:
        client.simulate_delete(
            "/v1/subjects/ada%40example.com",
            params={"api_key": "open sesame"},
            headers={"X-API-Key": "open sesame", "X-Tenant-ID": "acme", "X-Request-ID": "r1"},
        )
    (line,) = [event for event in logged if event["event"] == "request"]
    assert line.pop("ms") > 0
    assert line.pop("sql") > 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "DELETE",
        "route": "/v1/subjects/{subject_id:path}",
        "status": 200,
        "request_id": "r1",
        "tenant_id": "acme",
    }


def test_what_one_request_bound_to_the_log_is_gone_for_the_next(client: Client) -> None:
    client.simulate_get("/v1/subjects", headers={"X-Tenant-ID": "acme"})
    with capture_logs([structlog.contextvars.merge_contextvars]) as logged:
        client.simulate_get("/v1/subjects")
    assert [event.get("tenant_id") for event in logged] == [None]
