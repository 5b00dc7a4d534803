"""The probe says what is wrong, and never fails itself."""

from __future__ import annotations

from dataclasses import replace

from psycopg_pool import ConnectionPool

from pipelines import operations
from pipelines.compile import request_compile
from pipelines.readiness import Check, readiness
from pipelines.services import Services
from storage.transactions import Pool, operator_transaction


def checks(services: Services) -> dict[str, Check]:
    return {check.name: check for check in readiness(services).checks}


def test_all_is_well(services: Services) -> None:
    assert readiness(services).status == "ready"
    found = checks(services)
    assert set(found) == {"database", "schema", "queue", "quarantine", "broker", "llm"}
    assert all(check.latency_ms is not None for name, check in found.items() if name != "llm")


def test_without_a_database_it_is_not_ready_and_says_so_soon(services: Services) -> None:
    dead: Pool = ConnectionPool("host=/nowhere", open=False)
    dead.open()
    found = readiness(replace(services, pool=dead))
    dead.close()
    assert found.status == "not_ready"
    assert [check.name for check in found.checks if check.status == "fail"] == ["database"]


def test_without_a_broker_it_is_degraded(services: Services) -> None:
    def away() -> None:
        raise ConnectionError("redis://:secret@host is away")

    found = readiness(replace(services, ping_broker=away))
    (complaint,) = [check for check in found.checks if check.status != "ok"]
    assert (found.status, complaint.name) == ("degraded", "broker")
    assert complaint.detail is not None and "secret" not in complaint.detail


def test_pending_migrations_are_not_ready_but_a_newer_schema_is(services: Services) -> None:
    with services.pool.connection() as conn:
        conn.execute("insert into schema_migrations (version, checksum) values ('9999_future', 'x')")
    assert checks(services)["schema"].status == "ok"
    with services.pool.connection() as conn:
        conn.execute("delete from schema_migrations where version > '0001'")
    found = checks(services)["schema"]
    assert found.status == "fail" and found.detail is not None and "statewave migrate" in found.detail


def test_work_that_nobody_does_degrades_the_queue(services: Services) -> None:
    request_compile(services, "acme", "ada", request_id=None)
    assert checks(services)["queue"].status == "ok"
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set run_after = now() - interval '40 minutes', ready_at = now() - interval '1 hour'")
    found = checks(services)["queue"]
    assert found.status == "degraded" and "compile has been waiting for 40 minutes" in str(found.detail)


def test_a_paused_queue_is_named(services: Services) -> None:
    operations.pause_queue(services.pool, "webhooks", reason="")
    assert "webhooks is paused" in str(checks(services)["queue"].detail)


def test_quarantined_lanes_are_named_until_somebody_acts(services: Services) -> None:
    run, _ = request_compile(services, "acme", "ada", request_id=None)
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set state = 'failed', quarantined = true, finished_at = now()")
    found = checks(services)["quarantine"]
    assert found.status == "degraded" and "compile/compile (1)" in str(found.detail)
    operations.retry_run(services.pool, run.id)
    assert checks(services)["quarantine"].status == "ok"
