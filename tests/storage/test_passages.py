"""How passages are stored."""

from __future__ import annotations

from storage.passages import COLUMNS, LAYOUT, RECORD_BYTES, record_type


def test_a_passage_is_packed_into_the_bytes_that_statements_count_by() -> None:
    assert record_type().itemsize == RECORD_BYTES
    assert record_type().names == COLUMNS
    assert record_type().descr == list(LAYOUT)
