"""The audit log takes rows and gives none back."""

from __future__ import annotations

import psycopg
import pytest

from pipelines import audit
from storage.transactions import Pool, operator_transaction, tenant_transaction


def record_one(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        audit.record(conn, actor="ops", action="key.revoke", tenant_id="acme", target="k1", details={"count": 2})


def test_a_row_is_written_in_the_transaction_of_the_action(pool: Pool) -> None:
    record_one(pool)

    def interrupted() -> None:
        with operator_transaction(pool) as conn:
            audit.record(conn, actor="ops", action="key.create", tenant_id=None)
            conn.execute("select 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        interrupted()
    with operator_transaction(pool) as conn:
        rows = conn.execute("select actor, action, tenant_id, target, request_id from audit_log").fetchall()
    assert rows == [("ops", "key.revoke", "acme", "k1", None)]


@pytest.mark.parametrize("change", ["update audit_log set actor = 'x'", "delete from audit_log", "truncate audit_log"])
def test_nobody_changes_the_log_not_even_its_owner(pool: Pool, change: str) -> None:
    record_one(pool)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), operator_transaction(pool) as conn:
        conn.execute(change)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), pool.connection() as conn:
        conn.execute(change)


def test_a_tenant_writes_and_reads_its_own_rows_only(pool: Pool) -> None:
    record_one(pool)
    with tenant_transaction(pool, "globex") as conn:
        audit.record(conn, actor="app", action="subject.delete", tenant_id="globex")
        assert conn.execute("select actor from audit_log").fetchall() == [("app",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege), tenant_transaction(pool, "globex") as conn:
        audit.record(conn, actor="app", action="subject.delete", tenant_id="acme")
