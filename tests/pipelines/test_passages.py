"""Passages: whatever is sent becomes findable, nothing of it is lost, and each piece knows who said it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.chunks import LONGEST, PIECE, WHOLE, chunk
from pipelines.passages import columns_of, episode_text, passage_texts, speakers_of
from storage.passage_columns import Flag, Kind
from tests.pipelines.passage_subjects import START, columns, embedder, fact, split, talk

TURN = "I adopted a grey kitten last week."

#: One turn of Ada's as different clients send it.
SHAPES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"text": f"Ada: {TURN}"}, {}),
    ({"text": f"[9:12 am on 2 March, 2026] Ada: {TURN}"}, {}),
    ({"speaker": "Ada", "text": TURN}, {}),
    ({"author": {"name": "Ada"}, "content": TURN}, {}),
    ({"user": "Ada", "message": TURN}, {}),
    ({"messages": [{"role": "user", "content": f"Ada: {TURN}"}]}, {}),
    ({"messages": [{"role": "user", "name": "Ada", "content": TURN}]}, {}),
    ({"messages": [{"role": "Ada", "content": TURN}]}, {}),
    ({"messages": [{"role": "user", "name": "Ada", "content": [{"type": "text", "text": TURN}]}]}, {}),
    ({"turns": [{"speaker": "Ada", "text": TURN}]}, {}),
    ({"text": TURN}, {"source": "Ada"}),
    ({"text": TURN}, {"metadata": {"speaker": "Ada"}}),
]


@pytest.mark.parametrize(("payload", "fields"), SHAPES)
def test_a_turn_is_the_same_passage_whatever_shape_it_comes_in(payload: dict[str, Any], fields: dict[str, Any]) -> None:
    (passage,) = split(payload, **fields)
    assert (passage.speaker, passage.text) == ("Ada", TURN)
    assert episode_text(payload)[passage.start : passage.stop] == TURN
    assert Flag.HAS_TIME_EXPRESSION in passage.flags


def test_a_conversation_gives_the_same_passages_turn_by_turn_and_as_one_episode() -> None:
    lines = ["Ada: Did the parcel come?", "Ben: It did, on Monday.", "Ada: Good. And the invoice?"]
    one_by_one = talk(*lines)
    transcript = split({"text": "\n".join(lines)})
    messages = split({"messages": [{"role": "user", "content": line} for line in lines]})
    telling = [
        [(p.speaker, p.text, p.terms, p.tokens, p.session, p.flags & 3) for p in ps]
        for ps in (one_by_one, transcript, messages)
    ]
    assert telling[0] == telling[1] == telling[2]


@pytest.mark.parametrize(
    "text",
    [
        "Error: cannot open the file",
        "Note: the office is closed",
        "Meeting notes\nAgenda: budget\nWe talked for long.\nNobody objected.\nDecision: none yet",
        "https://example.test: a page",
        "The ratio is 3: 1",
        "Turn 4321: the export of report 4321 fails",
        "Budget 2026: as last year",
    ],
)
def test_a_heading_is_nobody(text: str) -> None:
    assert speakers_of(split({"text": text})) == []


def test_a_list_within_a_message_of_someone_known_has_no_speakers_of_its_own() -> None:
    text = "Ines: Here is the offer:\n1. Two regions.\nCost: 35 % on top.\nEffort: three weeks."
    passages = split({"text": text}, known_speakers=["Ines"])
    assert [(p.speaker, p.text) for p in passages] == [("Ines", text.removeprefix("Ines: "))]


def test_roles_are_sides_and_not_names() -> None:
    asked, answered = split(
        {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]}
    )
    assert (asked.role, asked.speaker, answered.role, answered.speaker) == ("user", "", "agent", "")
    assert asked.flags == Flag.FROM_USER | Flag.IS_QUESTION and answered.flags == Flag.FROM_AGENT
    assert episode_text({"messages": [{"role": "user", "content": "Hello?"}]}) == "user: Hello?"


def test_a_message_with_its_own_time_keeps_it() -> None:
    payload = {
        "messages": [
            {"role": "user", "content": "Then", "timestamp": "2025-01-02T03:04:05Z"},
            {"role": "user", "content": "Now"},
        ]
    }
    then, now = split(payload)
    assert (then.occurred_at, now.occurred_at) == (datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), START)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"text": "plain"}, "plain"),
        ({"content": "plain"}, "plain"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "user: a\nassistant: b",
        ),
        ({"text": "look", "blip_caption": "a dog"}, "look\n[image: a dog]"),
        ({"subject": "Order 7", "body": "It is late."}, "Order 7\nIt is late."),
        ({"prompt": "why?", "completion": "because"}, "user: why?\nassistant: because"),
        ({"order": {"id": "A-7", "lines": ["tea", 3]}, "paid": True}, "id: A-7\nlines: tea\nlines: 3"),
        ({"messages": [], "text": "kept"}, "kept"),
        ({"text": "  ", "content": None}, ""),
        ({}, ""),
    ],
)
def test_every_payload_gives_its_text(payload: dict[str, Any], text: str) -> None:
    assert episode_text(payload) == text


def test_a_long_answer_becomes_pieces_that_end_with_sentences() -> None:
    sentence = "The cache of the export service was full, so I emptied it and started the nightly job again. "
    passages = split({"messages": [{"role": "assistant", "content": sentence * 30}]})
    assert len(passages) > 5
    assert all(p.text.endswith("again.") and len(p.text) <= PIECE + len(sentence) for p in passages)
    assert [Flag.CONTINUES in p.flags for p in passages] == [False] + [True] * (len(passages) - 1)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab .!?\n,漢字。é😀") | st.characters(), max_size=3000))
def test_chunks_hold_everything_but_white_space_in_order(text: str) -> None:
    spans = chunk(text, 0, len(text))
    assert [span for pair in spans for span in pair] == sorted(span for pair in spans for span in pair)
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    assert all(b - a <= max(WHOLE, LONGEST + PIECE) for a, b in spans)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
message = st.dictionaries(
    st.sampled_from(["role", "name", "content", "text", "timestamp", "speaker"]), json | st.text(max_size=60)
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["text", "content", "title", "user", "messages", "x"]), json | st.lists(message)),
    st.text(max_size=20),
)
def test_no_payload_breaks_it_and_no_word_of_its_text_is_lost(payload: dict[str, Any], source: str) -> None:
    text = episode_text(payload)
    passages = split(payload, source=source, known_speakers=["Ada"])
    assert all(p.text == text[p.start : p.stop] and p.text.strip() for p in passages)
    ends = [0, *(p.stop for p in passages)]
    between = [text[a : p.start] for a, p in zip(ends, passages, strict=False)] + [text[ends[-1] :]]
    # What lies between passages is labels of speakers: each is short, or white space.
    assert all(len(gap.strip()) <= 160 for gap in between)


def test_episodes_without_a_session_stand_together_by_day_if_they_are_lines_of_a_talk() -> None:
    today = [split({"text": line}, number=n, session=None)[0].session for n, line in enumerate(["Hi", "Hello"])]
    document = split({"text": "A report. " * 100}, number=9, session=None)[0].session
    assert today[0] == today[1] != document


def test_names_of_those_who_speak_and_the_commonest_words_are_not_embedded() -> None:
    passages = talk("Ada: Ben and I went to the museum.", "Ben: I was there, Ada!")
    assert passage_texts(passages) == ["went museum", "there"]
    assert passage_texts(talk("Ada: It is for you."), speakers=["Ada"]) == ["It is for you"]


def test_columns_tell_what_the_passages_told() -> None:
    passages = [*talk("Ada: Did the red parcel come?", "Ben: Yes."), fact("Ada lives in Porto", until=START)]
    stored = columns(passages)
    assert len(stored) == 3
    assert stored.kind.tolist() == [Kind.TURN, Kind.TURN, Kind.PROFILE_FACT]
    assert stored.terms.tolist() == [term for p in passages for term in p.terms]
    assert stored.session.tolist()[2] == 0 and stored.session[0] == stored.session[1] != 0
    vectors = stored.vectors.astype(float) * stored.scale[:, None]
    assert abs(vectors - embedder().embed(passage_texts(passages))).max() < 0.005
    assert len(columns_of([], embedder().embed([]))) == 0
