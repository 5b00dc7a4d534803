"""Erasing a subject leaves no row of it in any table, whichever tables there are."""

from __future__ import annotations

from storage import subjects
from storage.transactions import Pool, operator_transaction


def test_every_table_with_a_subject_is_erased(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        rows = conn.execute(
            "select table_name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'subject_id' and table_name <> 'subjects'"
        ).fetchall()
    assert {name for (name,) in rows} == {*subjects.TABLES_OF_A_SUBJECT, *subjects.TABLES_THAT_OUTLIVE}
