"""Row-level security holds whatever a statement says."""

from __future__ import annotations

import msgspec
import psycopg
import pytest

from config.clock import utcnow
from config.ids import uuid7
from storage.appending import NewEpisodeRow, append
from storage.transactions import Pool, operator_transaction, tenant_transaction

#: What belongs to the installation and to no tenant; the application role sees nothing of it either.
TABLES_OF_THE_SERVER = {"access_revision", "embedding_changes", "queue_pauses", "schedules", "schedule_ticks"}


def store_one(pool: Pool, tenant_id: str) -> None:
    row = NewEpisodeRow(
        id=uuid7(),
        subject_id="ada",
        followers=0,
        source="chat",
        type="message",
        payload=msgspec.Raw(b"{}"),
        metadata=msgspec.Raw(b"{}"),
        provenance=msgspec.Raw(b"{}"),
        body="hello",
        occurred_at=utcnow(),
        signals=0,
    )
    with tenant_transaction(pool, tenant_id) as conn:
        append(conn, tenant_id, [row], now=utcnow(), compile=None, request_id=None)


def tables(pool: Pool) -> list[str]:
    with operator_transaction(pool) as conn:
        rows = conn.execute("select tablename from pg_tables where schemaname = 'public' order by 1").fetchall()
    return [name for (name,) in rows if name != "schema_migrations"]


def test_every_table_forces_row_level_security(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        unprotected = conn.execute(
            "select relname from pg_class join pg_namespace n on n.oid = relnamespace"
            " where nspname = 'public' and relkind = 'r' and relname <> 'schema_migrations'"
            " and not (relrowsecurity and relforcerowsecurity)"
        ).fetchall()
    assert unprotected == []


def test_every_table_has_a_tenant(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        with_tenant = conn.execute(
            "select table_name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'tenant_id'"
        ).fetchall()
    assert set(tables(pool)) - TABLES_OF_THE_SERVER <= {name for (name,) in with_tenant}


def test_every_table_with_a_tenant_keeps_to_the_region_of_operators(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        without = conn.execute(
            "select table_name from information_schema.columns c"
            "  join pg_class t on t.oid = format('public.%I', table_name)::regclass and t.relkind in ('r', 'p')"
            " where table_schema = 'public' and column_name = 'tenant_id'"
            "   and not exists (select 1 from pg_policy where polrelid = t.oid and polname = 'region')"
        ).fetchall()
    assert without == []


def test_the_role_of_a_region_sees_nothing_before_it_knows_who_is_elsewhere(pool: Pool) -> None:
    store_one(pool, "acme")
    with operator_transaction(pool) as conn:
        conn.execute("set local role statewave_regional")
        with pytest.raises(psycopg.Error, match=r"unrecognized configuration|malformed array"):
            conn.execute("select count(*) from episodes")
        conn.execute("rollback")


def test_the_application_role_cannot_bypass_row_level_security(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        flags = conn.execute("select rolsuper, rolbypassrls from pg_roles where rolname like 'statewave_%'").fetchall()
    assert flags == [(False, False)] * 3


def test_a_tenant_sees_its_own_rows_and_no_others(pool: Pool) -> None:
    store_one(pool, "acme")
    store_one(pool, "globex")
    with tenant_transaction(pool, "acme") as conn:
        seen = conn.execute("select distinct tenant_id from episodes").fetchall()
    assert seen == [("acme",)]


def test_without_a_tenant_set_no_row_of_any_table_is_seen(pool: Pool) -> None:
    store_one(pool, "acme")
    with pool.connection() as conn, conn.transaction():
        conn.execute("set local role statewave_app")
        for table in tables(pool):
            assert conn.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_a_row_cannot_be_written_into_another_tenant(pool: Pool) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), tenant_transaction(pool, "acme") as conn:
        conn.execute("insert into subjects (tenant_id, subject_id) values ('globex', 'ada')")


@pytest.mark.parametrize("tenant_id", ["acme", ""])
def test_a_pooled_connection_carries_no_tenant_into_the_next_transaction(pool: Pool, tenant_id: str) -> None:
    store_one(pool, tenant_id)
    with tenant_transaction(pool, tenant_id) as conn:
        assert conn.execute("select count(*) from episodes").fetchone() == (1,)
    for _ in range(pool.max_size * 2):
        with pool.connection() as conn, conn.transaction():
            conn.execute("set local role statewave_app")
            assert conn.execute("select count(*) from episodes").fetchone() == (0,)


def test_an_operator_sees_all_tenants(pool: Pool) -> None:
    store_one(pool, "acme")
    store_one(pool, "globex")
    with operator_transaction(pool) as conn:
        seen = conn.execute("select distinct tenant_id from episodes order by 1").fetchall()
    assert seen == [("acme",), ("globex",)]


def test_a_tenant_id_cannot_end_its_literal(pool: Pool) -> None:
    hostile = "x'; set local role postgres; --"
    store_one(pool, hostile)
    with tenant_transaction(pool, hostile) as conn:
        assert conn.execute("select current_user").fetchone() == ("statewave_app",)
        assert conn.execute("select count(*) from episodes").fetchone() == (1,)
