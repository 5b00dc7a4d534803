"""Statements that share a message with the beginning or the end of their transaction."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import messages
from storage.reading import first_read
from storage.standing import before_commit
from storage.transactions import Pool, last_read, statements_sent, tenant_transaction

#: Everything that text columns take.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS)
def test_a_value_stays_a_value_whatever_is_in_it(shared_pool: Pool, left: str, right: str) -> None:
    with tenant_transaction(shared_pool, "t") as conn:
        answers = last_read(conn, b"select %b, %b; select %b", [left, right, left])
        assert (answers.row(0), answers.rows(1)) == ((left, right), [(left,)])


def test_the_last_read_ends_the_transaction(pool: Pool) -> None:
    before = statements_sent.get()
    with tenant_transaction(pool, "t") as conn:
        conn.execute("insert into subjects (tenant_id, subject_id) values ('t', 'ada')")
        assert last_read(conn, b"select subject_id from subjects", []).rows(0) == [("ada",)]
    assert statements_sent.get() - before == 3
    with tenant_transaction(pool, "t") as conn:
        assert conn.execute("select count(*) from subjects").fetchone() == (1,)


def test_what_is_to_be_written_along_is_written_before_the_commit(pool: Pool) -> None:
    token = before_commit.set(lambda conn: conn.execute("insert into subjects values ('t', 'bo')") and None)
    try:
        with tenant_transaction(pool, "t") as conn:
            assert last_read(conn, b"select count(*) from subjects", []).row(0) == (0,)
    finally:
        before_commit.reset(token)
    with tenant_transaction(pool, "t") as conn:
        assert conn.execute("select subject_id from subjects").fetchall() == [("bo",)]


def test_a_last_read_that_fails_takes_the_transaction_with_it(pool: Pool) -> None:
    def write_and_fail() -> None:
        with tenant_transaction(pool, "t") as conn:
            conn.execute("insert into subjects (tenant_id, subject_id) values ('t', 'ada')")
            last_read(conn, b"select 1; select 1 / 0", [])

    with pytest.raises(psycopg.errors.DivisionByZero):
        write_and_fail()
    with tenant_transaction(pool, "t") as conn:
        assert conn.execute("select count(*) from subjects").fetchone() == (0,)


def test_the_first_read_sees_its_tenant_and_one_moment(pool: Pool) -> None:
    for tenant_id in ("t", "u"):
        with tenant_transaction(pool, tenant_id) as conn:
            conn.execute("insert into subjects (tenant_id, subject_id) values (%s, 'ada')", (tenant_id,))
    counting = b"select count(*), %b from subjects"
    with first_read(pool, "t", counting, ["it's"]) as (conn, reader, row):
        assert (row, reader.bundle_id) == ((1, "it's"), None)
        with tenant_transaction(pool, "t") as other:
            other.execute("insert into subjects (tenant_id, subject_id) values ('t', 'bo')")
        assert conn.execute("select count(*) from subjects").fetchone() == (1,)


def test_the_first_failure_of_a_message_is_raised(pool: Pool) -> None:
    with pool.connection() as conn, pytest.raises(psycopg.errors.UndefinedColumn):
        messages.send(conn, b"select 1; select nowhere; select 1 / 0")
