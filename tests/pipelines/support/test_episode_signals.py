"""Whose voices an episode holds, when they speak, and whether it speaks of an emergency."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.episode_text import episode_text
from pipelines.support.episode_signals import EpisodeSignals, episode_signals, escalates

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


def read(
    payload: dict[str, Any], source: str = "", *, occurred_at: datetime | None = NOW, **more: Any
) -> EpisodeSignals:
    return episode_signals(
        payload,
        episode_text(payload),
        source=source,
        metadata=more.get("metadata", {}),
        occurred_at=occurred_at,
        now=NOW + timedelta(days=1),
    )


@pytest.mark.parametrize("source", ["user", "chat", "support-chat", "support_chat", "customer", "manual_input", "User"])
def test_sources_of_customers(source: str) -> None:
    signals = read({"text": "hello"}, source)
    assert (signals.user_at, signals.agent_at) == (NOW, [])


@pytest.mark.parametrize("source", ["assistant", "agent", "system", "tool", "support", "staff"])
def test_sources_of_the_other_side(source: str) -> None:
    signals = read({"text": "hello"}, source)
    assert (signals.user_at, signals.agent_at) == (None, [NOW])


def test_a_channel_that_names_no_side_holds_no_voice() -> None:
    signals = read({"text": "something happened"}, "memory-template")
    assert (signals.user_at, signals.agent_at) == (None, [])


def test_roles_inside_say_more_than_the_channel() -> None:
    signals = read({"messages": [{"role": "assistant", "content": "How can I help?"}]}, "support-chat")
    assert (signals.user_at, signals.agent_at) == (None, [NOW])


def test_a_system_prompt_answers_nobody() -> None:
    messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Hi"}]
    signals = read({"messages": messages}, "chat")
    assert (signals.user_at, signals.agent_at) == (NOW, [])


def test_messages_with_times_of_their_own() -> None:
    messages = [
        {"role": "user", "content": "Hi", "timestamp": "2026-03-14T09:00:00Z"},
        {"role": "assistant", "content": "Hello", "timestamp": "2026-03-14T09:07:00Z"},
        {"role": "assistant", "content": "Still there?"},
    ]
    signals = read({"messages": messages}, "chat")
    assert signals.user_at == datetime(2026, 3, 14, 9, tzinfo=UTC)
    assert signals.agent_at == [datetime(2026, 3, 14, 9, 7, tzinfo=UTC)]


def test_a_transcript_in_plain_text() -> None:
    signals = read({"text": "Customer: my login fails\nAgent: I will reset it"}, "zendesk")
    assert (signals.user_at, signals.agent_at) == (NOW, [NOW])


@pytest.mark.parametrize("payload", [{"direction": "inbound", "body": "Hello"}, {"role": "customer", "text": "Hello"}])
def test_a_payload_that_names_its_side(payload: dict[str, Any]) -> None:
    assert read(payload, "zendesk").user_at == NOW


def test_the_event_time_of_a_replayed_history_counts() -> None:
    signals = read({"text": "hello", "event_time": "2023-05-08T13:56:00Z"}, "user")
    assert signals.event_at == signals.user_at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


def test_without_any_time_the_time_of_ingestion_counts() -> None:
    assert read({"text": "hello"}, "user", occurred_at=None).user_at == NOW + timedelta(days=1)


@pytest.mark.parametrize(
    "text",
    [
        "This is urgent",
        "CRITICAL: the API is down",
        "please fix ASAP",
        "I want this escalated",
        "Escalation to the second line",
        "the export is broken",
        "we have an outage",
        "it is a blocker for us",
        "P0",
        "sev1 incident",
        "tracking is down",
        "not fixed, and now the page is down",
    ],
)
def test_words_of_an_emergency(text: str) -> None:
    assert escalates(text)


@pytest.mark.parametrize(
    "text",
    [
        "I downloaded it",
        "a countdown",
        "scroll down",
        "could you write that down?",
        "broken down by month",
        "a down payment",
        "not urgent",
        "this isn't critical",
        "nothing is broken",
        "several people",
        "the p05 quantile",
        "asapscience",
    ],
)
def test_words_that_only_look_like_it(text: str) -> None:
    assert not escalates(text)
