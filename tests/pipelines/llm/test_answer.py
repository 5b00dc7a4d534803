"""Models do not always write JSON. What they mean is read; what they did not say is not made up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.llm.answer import Unusable, entries, salvaged

ONE = {"kind": "profile_fact", "content": "Ada, the “first”, uses: // nothing, [1,] and {2,}"}
RIGHT = json.dumps({"memories": [ONE]})

READABLE = {
    "as asked": RIGHT,
    "a bare list": json.dumps([ONE]),
    "a single object": json.dumps(ONE),
    "another name": json.dumps({"items": [ONE]}),
    "a third name": json.dumps({"results": [ONE]}),
    "an object in place of the list": json.dumps({"memories": ONE}),
    "a fence": f"```json\n{RIGHT}\n```",
    "a fence that does not end": f"```json\n{RIGHT}",
    "prose around it": f"Here is what I found [as asked]:\n\n{RIGHT}\n\nLet me know {{if}} more is needed.",
    "thoughts before it": f'<think>{{"memories": [{{"content": "no"}}]}}</think>\n{RIGHT}',
    "trailing commas": RIGHT.replace("}]", "},]").replace("]}", "],}"),
    "comments": RIGHT.replace('{"memories"', '{ // the list\n"memories"') + " /* done */",
    "words of Python": RIGHT[:-3] + ', "claim": None, "sure": True}]}',
    "line ends in strings": RIGHT.replace(" uses", " uses").replace("Ada, ", "Ada, "),
    "NULs": RIGHT.replace("Ada", "Ada\\u0000").replace('{"m', '\0{"m'),
    "a byte order mark": "\ufeff" + RIGHT,
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE.keys())
def test_what_is_meant_is_read(text: str) -> None:
    [found] = entries(text)
    assert found["kind"] == ONE["kind"]
    assert found["content"].replace("\0", "") == ONE["content"]


def test_line_ends_within_strings_are_read() -> None:
    assert entries('{"memories": [{"content": "one\ntwo\tthree"}]}') == [{"content": "one\ntwo\tthree"}]


def test_typographic_quotes_are_read_where_there_are_no_others() -> None:
    assert entries("{“memories”: [{“content”: “x”}]}") == [{"content": "x"}]


def test_no_memories_is_an_answer() -> None:
    assert entries('{"memories": []}') == []


@pytest.mark.parametrize(
    "text",
    ["", "I found nothing.", "null", "42", '"memories"', "[1, 2]", '{"answer": "none"}', '{"memories": [{"kind": "pro'],
)
def test_what_is_no_answer_is_none(text: str) -> None:
    with pytest.raises(Unusable):
        entries(text)


def test_of_a_list_that_was_cut_the_whole_objects_are_kept() -> None:
    cut = json.dumps({"memories": [ONE, {**ONE, "content": "second"}, ONE]})[:-30]
    assert [found["content"] for found in salvaged(cut)] == [ONE["content"], "second"]


@given(st.text(alphabet=st.sampled_from('{}[]",:\\ \n/*a“1'), max_size=200))
def test_no_text_breaks_the_reading(text: str) -> None:
    try:
        assert all(isinstance(entry, dict) for entry in entries(text))
    except Unusable:
        assert all(isinstance(entry, dict) for entry in salvaged(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_correct_answer_is_never_changed(found: list[dict[str, object]]) -> None:
    expected = json.loads(json.dumps({"memories": found}).replace("\\u0000", ""))["memories"]
    assert entries(json.dumps({"memories": found}).replace("\\u0000", "")) == expected
