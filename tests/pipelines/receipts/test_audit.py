"""The chain of a tenant's receipts: whatever is done to it by hand is noticed, with its place and reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.receipts import reading
from pipelines.receipts.audit import ChainAudit, audit
from pipelines.services import Services
from storage.transactions import operator_transaction
from tests.pipelines.receipts.stories import KEYS, TENANT, ask, configure, receipt, tell, with_settings

LENGTH = 6


@pytest.fixture
def chained(services: Services) -> Services:
    """A tenant with six receipts, the first without a signature; and another tenant with one."""
    signing = with_settings(services, **KEYS)
    tell(signing, "I live in Lisbon.")
    ask(signing, "Where?")
    for number in range(LENGTH - 1):
        configure(signing, receipt_signing_key_id=("h1", "e1")[number % 2])
        ask(signing, "Where?")
    ask(signing, "Where?", tenant="globex")
    return signing


@contextmanager
def forger(services: Services) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with all rights on the database."""
    with psycopg.connect(services.settings.database_url or "", autocommit=True) as conn:
        conn.execute("alter table receipts disable trigger user; alter table receipts no force row level security")
        conn.execute("alter table receipt_chains no force row level security")
        yield conn
        conn.execute("alter table receipts enable trigger user; alter table receipts force row level security")
        conn.execute("alter table receipt_chains force row level security")


def look(services: Services, *, cursor: str | None = None, limit: int = 100, **span: Any) -> ChainAudit:
    return audit(services, TENANT, since=span.get("since"), until=span.get("until"), cursor=cursor, limit=limit)


def test_a_chain_that_nobody_touched_is_intact(chained: Services) -> None:
    found = look(chained)
    assert (found.intact, found.checked, found.unsigned, found.first_break) == (True, LENGTH, 1, None)
    assert found.head_seq == LENGTH and found.next_cursor is None


def test_it_is_checked_in_stretches(chained: Services) -> None:
    cursor, checked = None, 0
    while True:
        found = look(chained, cursor=cursor, limit=2)
        assert found.intact
        checked += found.checked
        cursor = found.next_cursor
        if cursor is None:
            break
    assert checked == LENGTH


def test_a_range_of_time_is_checked_against_what_stands_before_it(chained: Services) -> None:
    with operator_transaction(chained.pool) as conn:
        times = [
            row[0]
            for row in conn.execute(
                "select created_at from receipts where tenant_id = %s order by chain_seq", (TENANT,)
            ).fetchall()
        ]
    found = look(chained, since=times[2], until=times[3])
    assert (found.intact, found.checked) == (True, 2)
    with forger(chained) as conn:
        conn.execute("delete from receipts where tenant_id = %s and chain_seq = 2", (TENANT,))
    assert look(chained, since=times[2]).first_break is not None


@pytest.mark.parametrize(
    ("forgery", "place", "reason"),
    [
        ("delete from receipts where tenant_id = 'acme' and chain_seq = 3", 3, "missing"),
        ("delete from receipts where tenant_id = 'acme' and chain_seq = 1", 1, "missing"),
        ("delete from receipts where tenant_id = 'acme' and chain_seq = 6", 6, "cut_off"),
        ("update receipts set signature = null where tenant_id = 'acme' and chain_seq = 2", 2, "altered"),
        ("update receipts set signature = repeat('0', 64) where tenant_id = 'acme' and chain_seq = 2", 2, "altered"),
        ("update receipts set subject_id = 'eve' where tenant_id = 'acme' and chain_seq = 4", 4, "altered"),
        ("update receipts set mode = 'eval_run' where tenant_id = 'acme' and chain_seq = 1", 1, "altered"),
        (
            "delete from receipts where tenant_id = 'acme' and chain_seq = 6;"
            " update receipt_chains set length = 5 where tenant_id = 'acme'",
            5,
            "chain_mismatch",
        ),
    ],
)
def test_what_is_done_to_it_by_hand_is_noticed(chained: Services, forgery: str, place: int, reason: str) -> None:
    with forger(chained) as conn:
        conn.execute(forgery)  # type: ignore[call-overload]
    found = look(chained).first_break
    assert found is not None and (found.chain_seq, found.reason) == (place, reason)


def test_a_receipt_written_anew_does_not_fit_the_next(chained: Services) -> None:
    """Even an unsigned one, with columns, canonical bytes and hash that agree with each other."""
    with forger(chained) as conn:
        row = conn.execute("select canonical from receipts where tenant_id = 'acme' and chain_seq = 1").fetchone()
        assert row is not None
        canonical = bytes(row[0]).replace(b'"task":"Where?"', b'"task":"When?"')
        body = {**reading.json.loads(canonical), "receipt_signature": None}
        conn.execute(
            "update receipts set canonical = %s, chain_hash = %s where tenant_id = 'acme' and chain_seq = 1",
            (canonical, bytes.fromhex(reading.chain_hash(body))),
        )
    found = look(chained).first_break
    assert found is not None and (found.chain_seq, found.reason) == (2, "chain_mismatch")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_byte_of_a_stored_receipt_that_changes_fails_verification(chained: Services, data: st.DataObject) -> None:
    with forger(chained) as conn:
        number = data.draw(st.integers(2, LENGTH))
        found = conn.execute(
            "select receipt_id, canonical from receipts where tenant_id = 'acme' and chain_seq = %s", (number,)
        ).fetchone()
        assert found is not None
        receipt_id, canonical = found[0], bytes(found[1])
        place = data.draw(st.integers(0, len(canonical) - 1))
        forged = bytearray(canonical)
        forged[place] ^= data.draw(st.integers(1, 255))
        change = "update receipts set canonical = %s where tenant_id = 'acme' and chain_seq = %s"
        conn.execute(change, (bytes(forged), number))
        row = reading.find(chained, TENANT, receipt_id)
        assert reading.verify(chained.settings, row).valid is False
        assert reading.with_status(row)["receipt_id"] is not None
        broken = look(chained).first_break
        assert broken is not None and broken.chain_seq == number
        conn.execute(change, (canonical, number))


def test_retention_hides_and_never_changes(chained: Services) -> None:
    configure(chained, receipt_retention_days=30)
    row = receipt(chained, ask(chained, "Where?"))
    with forger(chained) as conn:
        conn.execute(
            "update receipts set created_at = created_at - interval '31 days'"
            " where tenant_id = 'acme' and chain_seq <= 3"
        )
    assert reading.tombstone_expired(chained) == 3
    assert reading.tombstone_expired(chained) == 0
    page = {"since": None, "until": None, "cursor": None, "limit": 50, "subject_id": "ada"}
    shown, _ = reading.list_receipts(chained, TENANT, include_tombstoned=False, **page)
    everything, _ = reading.list_receipts(chained, TENANT, include_tombstoned=True, **page)
    assert (len(shown), len(everything)) == (LENGTH - 2, LENGTH + 1)
    assert {item["status"] for item in everything} == {"active", "tombstoned"}
    hidden = next(item for item in everything if item["status"] == "tombstoned")
    assert reading.with_status(reading.find(chained, TENANT, hidden["receipt_id"]))["tombstoned_at"]
    assert reading.verify(chained.settings, row).valid is True
