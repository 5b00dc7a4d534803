"""A subject that is kept in memory is always the one that is committed."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.ids import uuid7
from storage.passage_cache import IDLE_SECONDS, PassageCache
from storage.passage_columns import NEVER, PassageColumns
from storage.passage_vectors import ModelVectors, append_vectors
from storage.passages import BLOCK, append_passages, end_passages
from storage.retrieval import Candidates, load_candidates, read_state
from storage.transactions import Connection, Pool, statements_sent, tenant_transaction

MODEL, DIMENSIONS = "a-model", 4


def made(count: int, seed: int) -> PassageColumns:
    random = np.random.default_rng(seed)
    terms = random.integers(0, 5, count).astype(np.uint16)
    return PassageColumns(
        source_id=np.frombuffer(random.bytes(16 * count), dtype="V16"),
        kind=np.zeros(count, dtype=np.uint8),
        start=np.zeros(count, dtype=np.int32),
        stop=random.integers(1, 99, count).astype(np.int32),
        session=random.integers(1, 9, count).astype(np.uint64),
        occurred_at=random.integers(1, 2**40, count).astype(np.int64),
        valid_until=np.full(count, NEVER, dtype=np.int64),
        speaker=np.zeros(count, dtype=np.uint32),
        flags=np.zeros(count, dtype=np.uint8),
        tokens=np.ones(count, dtype=np.uint16),
        term_counts=terms,
        terms=random.integers(0, 2**32, int(terms.sum())).astype(np.uint32),
        scale=np.ones(count, dtype=np.float32),
        vectors=random.integers(-127, 128, (count, DIMENSIONS)).astype(np.int8),
    )


def subject(pool: Pool, tenant_id: str) -> None:
    with tenant_transaction(pool, tenant_id) as conn:
        conn.execute("insert into subjects (tenant_id, subject_id) values (%s, 's')", (tenant_id,))


def append(pool: Pool, tenant_id: str, count: int, *, stored: int, seed: int) -> PassageColumns:
    new = made(count, seed)
    with tenant_transaction(pool, tenant_id) as conn:
        append_passages(conn, tenant_id, "s", new, stored=stored)
        append_vectors(conn, tenant_id, "s", [ModelVectors(MODEL, new.scale, new.vectors)], stored=stored)
        conn.execute("update subjects set passage_count = %s", (stored + count,))
    return new


def candidates(conn: Connection, tenant_id: str, cache: PassageCache | None) -> Candidates | None:
    state = read_state(conn, tenant_id, "s", model=MODEL)
    return load_candidates(
        conn, tenant_id, "s", state, dimensions_of=lambda model: DIMENSIONS, waiting_limit=1, cache=cache
    )


def read(conn: Connection, tenant_id: str, cache: PassageCache | None) -> PassageColumns:
    found = candidates(conn, tenant_id, cache)
    assert found is not None
    return found.columns


def assert_same(left: PassageColumns, right: PassageColumns) -> None:
    for field in fields(PassageColumns):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(1, 2 * BLOCK), st.floats(0, 0.999)), min_size=1, max_size=6))
def test_after_any_changes_the_cache_gives_what_is_stored(shared_pool: Pool, changes: list[int | float]) -> None:
    """A whole number appends so many passages, a fraction ends the one that stands there."""
    tenant_id = str(uuid7())
    subject(shared_pool, tenant_id)
    cache = PassageCache(10**9)
    sources: list[UUID] = []
    for seed, change in enumerate(changes):
        if isinstance(change, int):
            new = append(shared_pool, tenant_id, change, stored=len(sources), seed=seed)
            sources += [UUID(bytes=source) for source in new.source_id.tolist()]
        elif sources:
            with tenant_transaction(shared_pool, tenant_id) as conn:
                ended = sources[int(change * len(sources))]
                end_passages(conn, tenant_id, "s", {ended: datetime(2026, 1, 1, tzinfo=UTC)})
        with tenant_transaction(shared_pool, tenant_id) as conn:
            assert_same(read(conn, tenant_id, cache), read(conn, tenant_id, None))


def test_only_what_changed_is_read_again(pool: Pool) -> None:
    subject(pool, "t")
    append(pool, "t", 3 * BLOCK, stored=0, seed=1)
    cache = PassageCache(10**9)

    def statements() -> int:
        with tenant_transaction(pool, "t") as conn:
            before = statements_sent.get()
            read(conn, "t", cache)
            return statements_sent.get() - before

    assert [statements(), statements()] == [2, 1]
    append(pool, "t", 1, stored=3 * BLOCK, seed=2)
    assert [statements(), statements()] == [2, 1]


def test_what_is_kept_stays_within_its_bytes(pool: Pool) -> None:
    subject(pool, "t")
    append(pool, "t", BLOCK, stored=0, seed=1)
    cache = PassageCache(100)
    with tenant_transaction(pool, "t") as conn:
        assert_same(read(conn, "t", cache), read(conn, "t", None))
    assert cache.kept_bytes == 0


def test_what_nobody_asks_for_is_let_go(pool: Pool) -> None:
    now = 0.0
    cache = PassageCache(10**9, clock=lambda: now)

    def kept_after(tenant_id: str) -> int:
        with tenant_transaction(pool, tenant_id) as conn:
            read(conn, tenant_id, cache)
        return cache.kept_bytes

    for tenant_id in ("t", "u", "v"):
        subject(pool, tenant_id)
        append(pool, tenant_id, 3, stored=0, seed=1)
    one, two = kept_after("t"), kept_after("u")
    now = 2 * IDLE_SECONDS
    assert (two, kept_after("v")) == (2 * one, one)


def test_a_subject_that_is_gone_is_not_answered_from_memory(pool: Pool) -> None:
    subject(pool, "t")
    append(pool, "t", BLOCK, stored=0, seed=1)
    cache = PassageCache(10**9)
    with tenant_transaction(pool, "t") as conn:
        assert len(read(conn, "t", cache)) == BLOCK
        conn.execute("delete from passage_blocks")
        assert len(read(conn, "t", cache)) == 0
        conn.execute("delete from subjects")
        assert candidates(conn, "t", cache) is None


def test_what_is_kept_cannot_be_written_to(pool: Pool) -> None:
    subject(pool, "t")
    append(pool, "t", 3, stored=0, seed=1)
    with tenant_transaction(pool, "t") as conn:
        columns = read(conn, "t", PassageCache(10**9))
    with pytest.raises(ValueError, match="read-only"):
        columns.valid_until[0] = 0
