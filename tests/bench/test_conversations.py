"""The project's own conversations keep the promises of bench/conversations/README.md."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.conversation import CATEGORIES, UNANSWERABLE, Conversation, Question, load_file

FOLDER = Path(__file__).parents[2] / "bench" / "conversations"
FILES = sorted(FOLDER.glob("*.json"))

#: Words of an answer that carry no evidence.
CONNECTIVES = frozenset(
    re.findall(
        r"\w+",
        "a an the of and or in on at to for from with without by is are was were it its he she her his him "
        "they their that this then than not no yes off out up only since until because also had has have "
        "be been as so who where instead each both into would",
    )
)

#: The date of an answer often comes from the session's date, which no turn repeats.
CALENDAR = re.compile(r"20\d\d|january|february|march|april|may|june|july|august|september|october|november|december")


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def document(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture
def conversation(file: Path) -> Conversation:
    return load_file(file)


def test_there_are_four_conversations() -> None:
    assert len(FILES) == 4


def test_sizes_are_as_described(conversation: Conversation) -> None:
    assert 8 <= len(conversation.sessions) <= 15
    assert 80 <= len(conversation.turns) <= 150
    assert 30 <= len(conversation.questions) <= 45


def test_turn_ids_say_where_the_turn_stands(document: dict[str, Any]) -> None:
    for number in range(1, len([key for key in document if re.fullmatch(r"session_\d+", key)]) + 1):
        ids = [turn["dia_id"] for turn in document[f"session_{number}"]]
        assert ids == [f"D{number}:{position}" for position in range(1, len(ids) + 1)]


def test_sessions_follow_each_other_in_time(conversation: Conversation) -> None:
    started = [session.started_at for session in conversation.sessions]
    assert all(earlier < later for earlier, later in pairwise(started))


def test_every_turn_says_something_and_its_speaker_has_a_role(
    document: dict[str, Any], conversation: Conversation
) -> None:
    for turn in conversation.turns.values():
        assert turn.text.strip()
        assert document["roles"][turn.speaker] in {"user", "agent"}
    assert document["roles"][document["speaker_a"]] == "user"
    assert document["roles"][document["speaker_b"]] == "agent"


def test_no_two_turns_have_the_same_text(conversation: Conversation) -> None:
    texts = [turn.text for turn in conversation.turns.values()]
    assert len(texts) == len(set(texts)), "a gold turn must be recognisable by its text"


def test_long_agent_answers_are_part_of_the_set(conversation: Conversation) -> None:
    long = [turn for turn in conversation.turns.values() if turn.role == "agent" and len(turn.text) >= 200]
    assert len(long) >= 8
    assert any("\n1. " in turn.text for turn in long)


def test_evidence_names_existing_turns(document: dict[str, Any], conversation: Conversation) -> None:
    for item in document["qa"]:
        assert item["evidence"], item["question"]
        assert set(item["evidence"]) <= conversation.turns.keys(), item["question"]
        assert len(item["evidence"]) == len(set(item["evidence"])), item["question"]


def test_questions_are_different_and_complete(document: dict[str, Any]) -> None:
    questions = [item["question"].casefold() for item in document["qa"]]
    assert len(questions) == len(set(questions))
    for item in document["qa"]:
        assert item["category"] in CATEGORIES
        answer = "adversarial_answer" if item["category"] == UNANSWERABLE else "answer"
        assert item[answer].strip(), item["question"]


def test_every_category_is_asked(conversation: Conversation) -> None:
    for category in CATEGORIES:
        assert sum(question.category == category for question in conversation.questions) >= 2


def test_questions_do_not_copy_their_turn(conversation: Conversation) -> None:
    for question in conversation.answerable:
        asked = words(question.text)
        for turn_id in question.evidence:
            told = " ".join(words(conversation.turns[turn_id].text))
            copied = [i for i in range(len(asked) - 4) if " ".join(asked[i : i + 5]) in told]
            assert not copied, f"{question.text!r} repeats five words in a row of {turn_id}"


def test_answers_stand_in_or_beside_their_evidence(conversation: Conversation) -> None:
    for question in conversation.answerable:
        if CATEGORIES[question.category] in {"single-hop", "multi-hop"}:
            nearby = set(words(" ".join(around(conversation, question))))
            wanted = {
                word for word in words(question.answer) if word not in CONNECTIVES and not CALENDAR.fullmatch(word)
            }
            missing = {word for word in wanted if not any(same_stem(word, other) for other in nearby)}
            assert len(missing) <= len(wanted) / 3, f"{question.text!r}: {sorted(missing)} is not near its evidence"


def around(conversation: Conversation, question: Question) -> list[str]:
    ids = {i for gold in question.evidence for i in (gold, *conversation.neighbours[gold])}
    return [f"{conversation.turns[i].speaker} {conversation.turns[i].text}" for i in ids]


def words(text: str) -> list[str]:
    return re.findall(r"[\w€£@.-]*\w", text.casefold())


def same_stem(word: str, other: str) -> bool:
    """Equal words, or words that share their first five letters ("retire", "retired")."""
    return word == other or (len(word) > 5 and other.startswith(word[:5]))
