"""One chain, however many threads and processes write at it, and whatever becomes of some of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from config.clock import utcnow
from config.ids import ulid
from pipelines.receipts.audit import audit
from pipelines.receipts.chain_writer import ChainWriter, Ending
from pipelines.receipts.emission import append, signed
from pipelines.receipts.signing import Keyring
from pipelines.services import Services
from storage import receipts
from storage.receipts import ChainHead, NewReceipt
from storage.transactions import open_pool, tenant_transaction
from tests.pipelines.receipts.stories import TENANT

TOLD: dict[str, Any] = {"subject_id": "ada", "mode": "retrieval", "tenant_id": TENANT}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than two seconds to let all come that a test has wait for the chain."""
    monkeypatch.setattr(receipts, "_WAIT", b"set local lock_timeout = '20s'")


def one_more(services: Services) -> dict[str, Any]:
    """A receipt, written as after a context: by whoever has read the end of the chain."""
    with tenant_transaction(services.pool, TENANT) as conn:
        head = receipts.chain_head(conn, TENANT)
        return append(services, TENANT, dict(TOLD), key_id=None, ending=Ending(conn, head if head.length else None))


def another_process(services: Services) -> Services:
    return dataclasses.replace(services, chains=ChainWriter())


def seqs(services: Services) -> list[int]:
    with tenant_transaction(services.pool, TENANT) as conn:
        return [row[0] for row in conn.execute("select chain_seq from receipts order by chain_seq").fetchall()]


def require_intact(services: Services, length: int) -> None:
    found = audit(services, TENANT, since=None, until=None, cursor=None, limit=1000)
    assert (found.intact, found.checked, found.head_seq) == (True, length, length), found.first_break


@contextmanager
def chain_held(services: Services) -> Iterator[None]:
    """Somebody else is writing at the chain, for as long as the block takes."""
    with tenant_transaction(services.pool, TENANT) as conn:
        conn.execute("select 1 from receipt_chains where tenant_id = %s for update", (TENANT,))
        yield


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.005)


def waiting_for_a_lock(services: Services) -> int:
    with services.pool.connection() as conn:
        row = conn.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_processes_that_write_at_the_same_time_make_one_chain(services: Services, database: str) -> None:
    other = dataclasses.replace(another_process(services), pool=open_pool(database, size=8))
    with ThreadPoolExecutor(16) as threads:
        written = list(threads.map(lambda n: one_more(other if n % 2 else services), range(96)))
    other.pool.close()
    assert sorted(body["chain_seq"] for body in written) == list(range(1, 97)) == seqs(services)
    assert len({body["receipt_id"] for body in written}) == 96
    require_intact(services, 96)


def test_an_end_that_is_out_of_date_costs_another_try_and_no_receipt(services: Services) -> None:
    one_more(services)
    other = another_process(services)
    with tenant_transaction(services.pool, TENANT) as conn:
        seen = receipts.chain_head(conn, TENANT)
        for _ in range(3):
            one_more(other)
        assert append(services, TENANT, dict(TOLD), key_id=None, ending=Ending(conn, seen))["chain_seq"] == 5
    require_intact(services, 5)


def test_those_who_wait_are_written_together(services: Services) -> None:
    one_more(services)
    with ThreadPoolExecutor(6) as threads:
        with chain_held(services):
            first = threads.submit(one_more, services)
            wait_until(lambda: waiting_for_a_lock(services) == 1)
            others = [threads.submit(one_more, services) for _ in range(5)]
            wait_until(lambda: len(services.chains._waiting[TENANT]) == 5)
        written = [future.result() for future in (first, *others)]
    assert sorted(body["chain_seq"] for body in written) == [2, 3, 4, 5, 6, 7]
    with tenant_transaction(services.pool, TENANT) as conn:
        row = conn.execute("select count(distinct xmin::text) from receipts").fetchone()
    assert row == (3,), "the first ever, the one that led, and the five that waited"
    require_intact(services, 7)


def receipt_behind(
    receipt_id: str, *, subject_id: str = "ada"
) -> Callable[[ChainHead], tuple[dict[str, Any], NewReceipt]]:
    def behind(head: ChainHead) -> tuple[dict[str, Any], NewReceipt]:
        now = utcnow()
        body = {
            **TOLD,
            "receipt_id": receipt_id,
            "created_at": now.isoformat(),
            "chain_seq": head.length + 1,
            "previous_hash": head.hash.hex(),
        }
        body, canonical, hash = signed(body, Keyring(), None, None)
        return body, NewReceipt(
            receipt_id=receipt_id,
            subject_id=subject_id,
            mode="retrieval",
            chain_seq=head.length + 1,
            chain_hash=hash,
            canonical=canonical,
            signature=None,
            key_id=None,
            algorithm=None,
            created_at=now,
        )

    return behind


@pytest.mark.parametrize("trouble", ["it cannot be written down", "the database refuses it"])
def test_a_receipt_that_fails_costs_no_other_its_own(services: Services, trouble: str) -> None:
    taken = one_more(services)["receipt_id"]

    def fail(head: ChainHead) -> Any:
        raise ValueError("half of a surrogate pair")

    bad = fail if trouble == "it cannot be written down" else receipt_behind(taken)
    good = [receipt_behind(ulid(utcnow())) for _ in range(3)]

    def write(behind: Any) -> dict[str, Any]:
        with tenant_transaction(services.pool, TENANT) as conn:
            return services.chains.write(services.pool, TENANT, behind, Ending(conn, receipts.chain_head(conn, TENANT)))

    with ThreadPoolExecutor(5) as threads:
        with chain_held(services):
            first = threads.submit(write, receipt_behind(ulid(utcnow())))
            wait_until(lambda: waiting_for_a_lock(services) == 1)
            others = [threads.submit(write, behind) for behind in (good[0], bad, *good[1:])]
            wait_until(lambda: len(services.chains._waiting[TENANT]) == 4)
        assert first.result()
        assert [future.exception() is None for future in others] == [True, False, True, True]
    require_intact(services, 5)
    assert one_more(services)["chain_seq"] == 6


def test_a_connection_that_dies_costs_receipts_and_no_more(services: Services) -> None:
    one_more(services)
    with ThreadPoolExecutor(4) as threads:
        with chain_held(services):
            first = threads.submit(one_more, services)
            wait_until(lambda: waiting_for_a_lock(services) == 1)
            others = [threads.submit(one_more, services) for _ in range(2)]
            wait_until(lambda: len(services.chains._waiting[TENANT]) == 2)
            with services.pool.connection() as conn:
                conn.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock'"
                )
            assert isinstance(first.exception(), psycopg.OperationalError)
        assert sorted(future.result()["chain_seq"] for future in others) == [2, 3]
    require_intact(services, 3)
    assert services.chains._waiting == {}


def test_what_is_told_to_be_written_is_committed(services: Services) -> None:
    """Whoever has the id of a receipt finds it, from whatever connection, while the writer still holds its own."""
    one_more(services)
    with tenant_transaction(services.pool, TENANT) as conn:
        body = append(services, TENANT, dict(TOLD), key_id=None, ending=Ending(conn, receipts.chain_head(conn, TENANT)))
        with tenant_transaction(services.pool, TENANT) as other:
            assert receipts.find(other, TENANT, body["receipt_id"]) is not None
