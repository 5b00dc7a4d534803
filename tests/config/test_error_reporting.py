"""What leaves the house when something breaks: where, never what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import falcon
import falcon.testing
import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from config.error_reporting import report, start_error_reporting
from config.settings import Settings

SECRET = "Ada lives in Lyon"


class Captured(Transport):
    """Keeps events instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))


@pytest.fixture
def sent() -> Iterator[list[dict[str, Any]]]:
    """Events of an API process."""
    transport = Captured()
    settings = Settings(sentry_dsn="https://public@sentry.invalid/1")
    start_error_reporting(settings, process="api", transport=transport)
    yield transport.events
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


def test_without_a_dsn_nothing_is_started() -> None:
    start_error_reporting(Settings(), process="api")
    report(ValueError(SECRET))
    assert not sentry_sdk.is_initialized()


def test_an_error_is_reported_with_its_place_and_our_ids_and_without_what_it_says(sent: list[dict[str, Any]]) -> None:
    def work(episode: str) -> None:
        raise ValueError(f"cannot parse {episode!r}")

    try:
        work(SECRET)
    except ValueError as ex:
        report(ex, run_id="r1", kind="compile", stage="embed", request_id=None)
    (event,) = sent
    assert SECRET not in repr(event)
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert exception["stacktrace"]["frames"][-1]["function"] == "work"
    assert event["tags"] == {"process": "api", "run_id": "r1", "kind": "compile", "stage": "embed"}


def test_nothing_of_a_request_leaves_but_its_route(sent: list[dict[str, Any]]) -> None:
    class Broken:
        def on_post(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
            request.get_media()
            raise RuntimeError(SECRET)

    app = falcon.App()
    app.add_route("/subjects/{name}", Broken())
    falcon.testing.simulate_post(
        app,
        f"/subjects/{SECRET}",
        params={"q": SECRET},
        json={"text": SECRET},
        headers={"Authorization": f"Bearer {SECRET}", "Cookie": SECRET, "User-Agent": "sdk"},
    )
    (event,) = sent
    assert SECRET not in repr(event)
    assert "Lyon" not in repr(event)
    assert event["request"]["headers"].get("User-Agent") == "sdk"
