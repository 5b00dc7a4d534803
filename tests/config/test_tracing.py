"""A trace goes from the request to everything it causes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tracing import child_of, current_traceparent, trace_id, tracing

SENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_child_stays_in_its_trace_and_has_an_id_of_its_own() -> None:
    child = child_of(SENT)
    assert trace_id(child) == "0af7651916cd43dd8448eb211c80319c"
    assert child != SENT and child.endswith("-01")


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "nonsense",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        SENT.upper(),
    ],
)
def test_what_is_no_trace_context_begins_a_new_trace(sent: str | None) -> None:
    assert trace_id(sent) is None
    assert trace_id(child_of(sent)) is not None
    assert child_of(sent) != child_of(sent)


@given(st.text())
def test_a_child_is_valid_whatever_was_sent(sent: str) -> None:
    assert trace_id(child_of(sent)) is not None


def test_it_is_current_inside_the_block_only() -> None:
    before = current_traceparent()
    with tracing(SENT):
        assert current_traceparent() == SENT
    assert current_traceparent() == before
