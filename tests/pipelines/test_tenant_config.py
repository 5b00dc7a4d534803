"""A tenant's configuration: defaults, what is stored, and what somebody stored by hand."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from pipelines.tenant_config import TenantConfig, parse, tenant_config
from storage import tenant_configs
from storage.transactions import Pool, operator_transaction, tenant_transaction


def test_a_tenant_without_a_document_has_the_defaults(pool: Pool) -> None:
    with tenant_transaction(pool, "acme") as conn:
        assert tenant_config(conn, "acme") == TenantConfig()
    assert parse(None).version == 0


def test_the_document_travels_with_another_statement(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        tenant_configs.change(conn, "acme", {"policy_mode": "enforce"})
        tenant_configs.change(conn, "acme", {"receipts": "always", "of_the_future": 1})
    with tenant_transaction(pool, "acme") as conn:
        row = conn.execute(f"select 1, {tenant_configs.CONFIG_SQL}", {"tenant": "acme"}).fetchone()
    assert row is not None
    known = parse(row[1])
    assert known.config == TenantConfig(policy_mode="enforce", receipts="always")
    assert (known.version, known.unreadable) == (2, frozenset())


def test_a_tenant_does_not_see_the_document_of_another(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        tenant_configs.change(conn, "acme", {"policy_mode": "enforce"})
    with tenant_transaction(pool, "globex") as conn:
        assert tenant_configs.config_text(conn, "acme") is None


def test_values_that_cannot_be_read_are_named(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values ('acme', %s)",
            (Jsonb({"region": 7, "receipts": "never"}),),
        )
    with tenant_transaction(pool, "acme") as conn:
        known = parse(tenant_configs.config_text(conn, "acme"))
    assert known.unreadable == {"region"}
    assert known.config == TenantConfig(receipts="never")
