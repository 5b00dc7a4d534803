"""Runs are handed out round the tenants, once, and only those that could be claimed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import msgspec
import psycopg
from hypothesis import given
from hypothesis import strategies as st

from config.ids import uuid7
from storage import compile_requests, new_runs, run_dispatch, runs
from storage.rows import Run
from storage.transactions import Connection, Pool, operator_transaction, tenant_transaction

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)
PATIENCE = timedelta(seconds=5)


def due(conn: Connection, tenant_id: str, subject_id: str = "ada", queue: str = "compile") -> UUID:
    """Add a run that is due now, however many of its key there are."""
    run = new_runs.add(
        conn,
        run_id=uuid7(),
        tenant_id=tenant_id,
        subject_id=subject_id,
        kind="compile",
        queue=queue,
        stage="compile",
        unique_key=f"compile:{subject_id}",
        joinable=False,
        params={},
    )
    assert run is not None
    return run.id


def backlog(pool: Pool, **runs_of: int) -> None:
    """Due runs of as many subjects of each tenant."""
    with operator_transaction(pool) as conn:
        for tenant_id, count in runs_of.items():
            for number in range(count):
                due(conn, tenant_id, f"s{number}")


def handed(
    pool: Pool, *, limit: int = 100, share: int = 100, after: str | None = None, patience: timedelta = PATIENCE
) -> list[Run]:
    with operator_transaction(pool) as conn:
        tenants = run_dispatch.tenants_with_runs(conn, "compile", after=after, limit=100)
        return run_dispatch.hand_out(conn, "compile", tenants=tenants, limit=limit, share=share, patience=patience)


def claim(pool: Pool, run_id: UUID, *, lease: timedelta = LEASE) -> Run | None:
    with operator_transaction(pool) as conn:
        return runs.claim(conn, run_id, stage=None, lease=lease)


def test_a_due_run_is_handed_out_once_and_again_when_patience_is_over(pool: Pool) -> None:
    backlog(pool, acme=1)
    assert len(handed(pool)) == 1
    assert handed(pool) == []
    assert len(handed(pool, patience=OVER)) == 1


def test_a_run_that_is_due_later_is_not_handed_out_but_known(pool: Pool) -> None:
    backlog(pool, acme=1)
    with operator_transaction(pool) as conn:
        conn.execute("update runs set run_after = now() + interval '90 seconds'")
    assert handed(pool) == []
    with operator_transaction(pool) as conn:
        seconds = run_dispatch.seconds_until_next(conn, ["webhooks", "compile"])
        assert seconds is not None and 60 < seconds <= 90
        assert run_dispatch.seconds_until_next(conn, ["webhooks"]) is None


def test_every_tenant_gets_one_before_any_gets_two(pool: Pool) -> None:
    backlog(pool, acme=50, globex=3, initech=1)
    assert [run.tenant_id for run in handed(pool, limit=5)] == ["acme", "globex", "initech", "acme", "globex"]
    # acme and globex have two under way each, initech one and nothing more.
    assert [run.tenant_id for run in handed(pool, limit=3)] == ["acme", "globex", "acme"]


def test_turns_begin_behind_the_tenant_that_was_served_last(pool: Pool) -> None:
    backlog(pool, acme=3, globex=3, initech=3)
    assert [run.tenant_id for run in handed(pool, limit=1, after="acme")] == ["globex"]


def test_a_tenant_has_no_more_than_its_share_under_way(pool: Pool) -> None:
    backlog(pool, acme=10)
    first = handed(pool, share=4)
    assert len(first) == 4
    assert handed(pool, share=4) == []
    held = claim(pool, first[0].id)
    assert held is not None
    with operator_transaction(pool) as conn:
        runs.complete(conn, held, result={})
    assert len(handed(pool, share=4)) == 1


def test_messages_that_were_lost_do_not_use_up_the_share(pool: Pool) -> None:
    backlog(pool, acme=10)
    lost = {run.id for run in handed(pool, share=4)}
    again = {run.id for run in handed(pool, share=4, patience=OVER)}
    assert len(lost | again) == 4, "the same ones are sent again, and none is forgotten"


def test_a_run_behind_another_of_its_key_waits_without_being_handed_out(pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        first, second = due(conn, "acme"), due(conn, "acme")
    assert [run.id for run in handed(pool)] == [first]
    held = claim(pool, first)
    assert held is not None
    assert handed(pool, patience=OVER) == []
    with operator_transaction(pool) as conn:
        runs.complete(conn, held, result={})
    assert [run.id for run in handed(pool)] == [second]


def test_relays_at_once_hand_out_each_run_once(pool: Pool) -> None:
    backlog(pool, acme=60, globex=60)
    with ThreadPoolExecutor(6) as threads:
        lots = list(threads.map(lambda _: [run.id for run in handed(pool, limit=25)], range(12)))
    ids = [run_id for lot in lots for run_id in lot]
    assert len(ids) == len(set(ids))
    ids += [run.id for run in handed(pool, limit=200)]
    assert len(set(ids)) == 120


def test_nothing_of_a_paused_queue_is_handed_out_or_claimed(pool: Pool) -> None:
    backlog(pool, acme=2)
    run = handed(pool, limit=1)[0]
    with operator_transaction(pool) as conn:
        run_dispatch.pause(conn, "compile", reason="moving house")
    assert handed(pool) == []
    assert claim(pool, run.id) is None
    with operator_transaction(pool) as conn:
        assert run_dispatch.resume(conn, "compile")
        assert not run_dispatch.resume(conn, "compile")
    assert claim(pool, run.id) is not None
    assert len(handed(pool)) == 1


def test_an_announcement_arrives_with_the_commit(pool: Pool, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute(f"listen {run_dispatch.CHANNEL}")
        with operator_transaction(pool) as conn:
            run_dispatch.announce(conn, "compile")
            assert list(listener.notifies(timeout=0)) == []
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == ["compile"]


def test_an_automatic_compile_waits_for_its_subject_to_be_quiet(pool: Pool) -> None:
    with tenant_transaction(pool, "acme") as conn:
        compile_requests.schedule_compiles(
            conn, "acme", {"busy": uuid7(), "quiet": uuid7(), "old": uuid7()}, run_after=None, request_id=None
        )
        conn.execute(
            "insert into subjects (tenant_id, subject_id, last_episode_at) values"
            " ('acme', 'busy', now()), ('acme', 'quiet', now() - interval '1 hour'), ('acme', 'old', now())"
        )
        conn.execute("update runs set created_at = now() - interval '2 minutes' where subject_id = 'old'")
    with operator_transaction(pool) as conn:
        moved = run_dispatch.postpone_until_quiet(
            conn, quiet=timedelta(seconds=5), at_latest=timedelta(minutes=1), limit=10
        )
    assert moved == 1
    assert {run.subject_id for run in handed(pool)} == {"quiet", "old"}


def test_reaping_frees_the_runs_of_the_dead_and_counts_their_crash(pool: Pool) -> None:
    backlog(pool, acme=2)
    dead, alive = handed(pool)
    lost = claim(pool, dead.id, lease=OVER)
    assert lost is not None and claim(pool, alive.id) is not None
    with operator_transaction(pool) as conn:
        assert run_dispatch.reap(conn, limit=10) == ["compile"]
        assert run_dispatch.reap(conn, limit=10) == []
        assert not runs.complete(conn, lost, result={})
    successor = claim(pool, dead.id)
    assert successor is not None and (successor.crashes, successor.attempts) == (1, 2)


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6), limit=st.integers(1, 40), share=st.integers(1, 12))
def test_nobody_gets_two_more_than_somebody_who_still_waits(
    shared_pool: Pool, sizes: list[int], limit: int, share: int
) -> None:
    with shared_pool.connection() as conn, conn.transaction(force_rollback=True):
        conn.execute("set local role statewave_operator")
        conn.execute("delete from runs")
        for tenant, size in enumerate(sizes):
            for number in range(size):
                due(conn, f"t{tenant}", f"s{number}")
        tenants = run_dispatch.tenants_with_runs(conn, "compile", after=None, limit=100)
        lot = run_dispatch.hand_out(conn, "compile", tenants=tenants, limit=limit, share=share, patience=PATIENCE)
        given_to = {f"t{n}": sum(run.tenant_id == f"t{n}" for run in lot) for n in range(len(sizes))}
    assert len(lot) == min(limit, sum(min(size, share) for size in sizes))
    for tenant, count in given_to.items():
        size = sizes[int(tenant[1:])]
        assert count <= min(share, size)
        if count < min(share, size):
            assert max(given_to.values()) <= count + 1


def test_a_long_backlog_is_not_worked_through(pool: Pool) -> None:
    """Nor by a planner that knows nothing of it yet: the table is as young as after an incident."""
    backlog(pool, acme=2000, globex=1)
    parameters = {"queue": "compile", "tenants": ["acme", "globex"], "limit": 16, "share": 32, "patience": PATIENCE}
    with operator_transaction(pool) as conn:
        row = conn.execute(f"explain (analyze, buffers, format json) {run_dispatch._HAND_OUT}", parameters).fetchone()
    assert row is not None
    (plan,) = msgspec.json.decode(row[0])
    assert plan["Plan"]["Actual Rows"] == 16
    assert plan["Plan"]["Shared Hit Blocks"] < 1000, "a block for every run of the backlog would be 2000 and more"
