"""Webhook settings are checked when the server starts, and every refusal says what would be accepted."""

from __future__ import annotations

import base64
import json

import pytest

from config import webhooks
from config.settings import ConfigurationError, Settings, load_settings
from config.settings_table import current

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def refusal(**variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({f"STATEWAVE_WEBHOOK_{name.upper()}": value for name, value in variables.items()})
    (problem,) = refused.value.problems
    return problem


def loaded(**variables: str) -> Settings:
    return load_settings({f"STATEWAVE_WEBHOOK_{name.upper()}": value for name, value in variables.items()})


def test_an_unknown_event_is_refused_with_the_list_of_those_there_are() -> None:
    problem = refusal(events="memories.compiled,memory.created")
    assert "STATEWAVE_WEBHOOK_EVENTS" in problem and "'memory.created'" in problem
    assert all(event in problem for event in webhooks.EVENTS)


def test_events_may_be_a_list_or_words_and_are_taken_once() -> None:
    expected = ("memories.compiled", "subject.deleted")
    assert loaded(events="memories.compiled, subject.deleted, memories.compiled").webhook_events == expected
    assert loaded(events='["memories.compiled", "subject.deleted"]').webhook_events == expected
    assert loaded(events="").webhook_events == ()


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example.com",
        "ftp://hooks.example.com/",
        "https://",
        "https:///path",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nX-Evil: 1",
        "https://hooks.exämple.com/",
        "https://[::1/",
        "https://hooks.example.com/" + "a" * 2048,
    ],
)
def test_an_unusable_address_is_refused(url: str) -> None:
    assert "STATEWAVE_WEBHOOK_URL" in refusal(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://api.localhost:8080/",
        "http://localhost./",
        "http://127.0.0.1/",
        "http://[::1]:9000/",
    ],
)
def test_an_address_that_names_a_private_host_needs_leave(url: str) -> None:
    assert "STATEWAVE_WEBHOOK_ALLOW_PRIVATE=true" in refusal(url=url)
    assert loaded(url=url, allow_private="true").webhook_url == url


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2",
        "whsec_",
        "whsec_!!!!",
        base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        SECRET + ",short",
    ],
)
def test_a_weak_or_malformed_secret_is_refused_and_not_repeated(secret: str) -> None:
    problem = refusal(secret=secret)
    assert "openssl rand -base64 32" in problem
    assert secret not in problem.replace("use whsec_", "")


def test_two_secrets_may_be_given_while_one_replaces_the_other() -> None:
    assert loaded(secret=f"{SECRET},{webhooks.new_secret()}").webhook_secret[0] == SECRET


def test_new_secrets_are_accepted_and_differ() -> None:
    first, second = webhooks.new_secret(), webhooks.new_secret()
    assert first != second
    assert len(webhooks.secret_key(first)) == webhooks.NEW_KEY_BYTES


def test_neither_the_secret_nor_a_token_in_the_address_is_shown() -> None:
    shown = json.dumps(current(loaded(secret=SECRET, url="https://hooks.example.com/in?token=s3cret")), default=str)
    assert SECRET not in shown
    assert "s3cret" not in shown
