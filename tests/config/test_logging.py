"""Log events: their form, their context, and what is kept out of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from config.log_repeats import ONCE_IN_SECONDS, Repeats
from config.logging import bind_context, clear_context, configure_logging
from config.settings import Settings


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # What an earlier test's last request left behind.
    clear_context()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    clear_context()


def last_event(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(capsys.readouterr().err.splitlines()[-1])
    return event


def as_json() -> None:
    configure_logging(Settings(log_format="json"), process="worker")


def test_an_event_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    structlog.get_logger("actors.compile").info("run finished", stage="embed", seconds=0.5)
    event = last_event(capsys)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "run finished",
        "level": "info",
        "logger": "actors.compile",
        "process": "worker",
        "stage": "embed",
        "seconds": 0.5,
    }


def test_libraries_events_take_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    logging.getLogger("gunicorn.error").warning("worker %s left", 7, extra={"worker": 7})
    event = last_event(capsys)
    assert (event["event"], event["worker"], event["level"]) == ("worker 7 left", 7, "warning")


def test_bound_context_is_in_every_event_until_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    bind_context(request_id="r1", tenant_id="acme", run_id=None)
    logging.getLogger("any").warning("one")
    event = last_event(capsys)
    assert (event["request_id"], event["tenant_id"], "run_id" in event) == ("r1", "acme", False)
    clear_context()
    structlog.get_logger().warning("two")
    assert "request_id" not in last_event(capsys)


@pytest.mark.parametrize("field", ["api_key", "X-API-Key", "authorization", "sentry_dsn", "webhook_secret", "password"])
def test_fields_named_like_secrets_are_hidden(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    structlog.get_logger().info("asked", **{field: "s3cret"})
    assert "s3cret" not in capsys.readouterr().err


def test_passwords_within_addresses_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    structlog.get_logger().info("connected", to="postgresql://app:s3cret@db:5432/x")
    assert last_event(capsys)["to"] == "postgresql://app:[hidden]@db:5432/x"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_exception_is_told_with_its_traceback(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=log_format))
    try:
        raise KeyError("nothing here")
    except KeyError:
        structlog.get_logger().exception("lookup failed")
    written = capsys.readouterr().err
    assert "lookup failed" in written
    assert "Traceback" in written
    assert "nothing here" in written


def test_the_level_of_the_settings_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="WARNING"))
    structlog.get_logger("a").info("quiet")
    logging.getLogger("b").info("quiet")
    structlog.get_logger("a").warning("loud")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert "loud" in written


def test_configuring_again_does_not_double_events(capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    as_json()
    structlog.get_logger().info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_said_in_loops_is_said_once_in_a_while_and_counted() -> None:
    now = [0.0]
    repeats = Repeats(clock=lambda: now[0])

    def said(message: Any) -> dict[str, Any] | None:
        record = logging.LogRecord("any", logging.WARNING, "", 0, message, (), None)
        return vars(record) if repeats.filter(record) else None

    assert said("Restarting consumer in %.2f seconds.") is not None
    assert said({"event": "relay pauses"}) is not None
    assert [said({"event": "relay pauses"}) for _ in range(3)] == [None, None, None]
    assert said({"event": "run failed"}) and said({"event": "run failed"})
    now[0] = ONCE_IN_SECONDS
    again, consumer = said({"event": "relay pauses"}), said("Restarting consumer in %.2f seconds.")
    assert again and again["msg"] == {"event": "relay pauses", "repeated": 3}
    assert consumer and "repeated" not in consumer


def test_a_repeated_event_of_a_library_says_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    as_json()
    logger = logging.getLogger("dramatiq.worker.ConsumerThread(compile)")
    for _ in range(3):
        logger.critical("Consumer encountered a connection error: %s", "refused")
    assert len(capsys.readouterr().err.splitlines()) == 1
