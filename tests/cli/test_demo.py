"""`statewave demo` over a running server."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from cli.demo_conversation import SUBJECT_ID, load_conversation
from cli.main import main
from cli.text_layout import beside
from tests.fixtures.stack import RunningStack


def test_the_conversation_is_long_and_in_order() -> None:
    conversation = load_conversation()
    assert len(conversation.episodes) >= 60
    assert len(conversation.tasks) == 5
    dates = [datetime.fromisoformat(episode["occurred_at"]) for episode in conversation.episodes]
    assert all(earlier < later for earlier, later in pairwise(dates))
    assert dates[-1] - dates[0] > timedelta(weeks=3)
    assert len({episode["idempotency_key"] for episode in conversation.episodes}) == len(conversation.episodes)
    roles = {message["role"] for episode in conversation.episodes for message in episode["payload"]["messages"]}
    assert roles == {"user", "agent"}


def test_the_demo_shows_every_task_before_and_after(
    running_stack: RunningStack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--url", running_stack.base_url]) == 0
    printed = capsys.readouterr().out
    for number, task in enumerate(load_conversation().tasks, start=1):
        assert f"{number}. {task}" in printed
    assert printed.count("BEFORE") == printed.count("AFTER") == 5
    assert "74 messages" in printed
    assert re.search(r"into \d+ memories", printed)


def test_the_demo_can_be_shown_again(running_stack: RunningStack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--url", running_stack.base_url]) == 0
    capsys.readouterr()
    assert main(["demo", "--url", running_stack.base_url]) == 0
    again = capsys.readouterr().out
    assert f"removed the subject {SUBJECT_ID}" in again
    assert re.search(r"into \d+ memories", again)

    assert main(["demo", "--url", running_stack.base_url, "--keep"]) == 0
    assert "Nothing was left to compile" in capsys.readouterr().out


def test_without_a_server_the_demo_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--url", "http://127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "No server answers at http://127.0.0.1:1" in said
    assert "make up" in said


def test_columns_stand_beside_each_other() -> None:
    lines = beside(["a long line of words"], ["short"], width=23)
    assert lines == ["a long     | short", "  line of  |", "  words    |"]
