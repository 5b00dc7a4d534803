"""The compile pipeline may be killed, repeated and run twice at once; what is published is always the same, once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from config.settings import Settings
from pipelines import compile_stages
from pipelines.compile import compile_now, compile_status, request_compile
from pipelines.erasure import erase_subject
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from storage import runs, subjects
from storage.passages import load_passages
from storage.rows import Run
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.faults import Killed, Killer

STAGES: dict[str, Callable[[Services, Run], Run | None]] = {
    compile_stages.COMPILE: compile_stages.draft,
    compile_stages.LABEL: compile_stages.label,
    compile_stages.EMBED: compile_stages.embed,
    compile_stages.PUBLISH: compile_stages.publish,
}
LEASE = timedelta(seconds=30)


def said(*texts: str, session_id: str = "s1", day: int = 1) -> list[NewEpisode]:
    return [
        NewEpisode(
            subject_id="ada",
            session_id=session_id,
            source="chat",
            type="message",
            payload={"messages": [{"role": "user", "content": text}]},
            occurred_at=datetime(2026, 3, day, 9, number, tzinfo=UTC),
        )
        for number, text in enumerate(texts)
    ]


STORY = said(
    "Hello, my name is Ada Moreau.",
    "I work at Globex and I live in Lyon.",
    "The export fails with error E-4012 whenever I choose PDF.",
    "I prefer answers by email.",
)


def step(services: Services, run_id: UUID) -> Run | None:
    """Do the stage the run is at, as a worker would; None when there was nothing to do or the run was lost."""
    with operator_transaction(services.pool) as conn:
        run = runs.claim(conn, run_id, stage=None, lease=LEASE)
    return STAGES[run.stage](services, run) if run is not None else None


def drive(services: Services, run_id: UUID) -> Run:
    """Step until the run is finished."""
    for _ in range(40):
        after = step(services, run_id)
        if after is not None and after.state == "completed":
            return after
    raise AssertionError("the run did not finish")


def expire_leases(services: Services) -> None:
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set lease_until = now() - interval '1 second' where lease_until is not null")


def published(services: Services) -> dict[str, Any]:
    """Everything a reader could ever see of the subject, without what differs from run to run."""
    with tenant_transaction(services.pool, "acme") as conn:
        memories = conn.execute(
            "select kind, content, status, valid_from, claim_key, source_episode_ids"
            " from memories order by kind, content"
        ).fetchall()
        counters = conn.execute(
            "select episode_count, memory_count, compiled_seq, compiled_count, passage_count from subjects"
        ).fetchone()
        columns = load_passages(conn, "acme", "ada", model="wordllama-l2-supercat-256", dimensions=256)
        versions = conn.execute("select count(*) from memory_versions").fetchone()
    return {
        "memories": memories,
        "counters": counters,
        "versions": versions,
        "passages": sorted(zip(columns.kind.tolist(), columns.stop.tolist(), columns.tokens.tolist(), strict=True)),
        "vectors": int((columns.scale > 0).sum()),
    }


def begun(services: Services) -> UUID:
    run, _ = request_compile(services, "acme", "ada", request_id=None)
    return run.id


@pytest.fixture
def story(services: Services) -> Services:
    append_episodes(services, "acme", STORY, request_id=None)
    return services


@pytest.fixture
def expected(story: Services) -> dict[str, Any]:
    """What an undisturbed synchronous compile of the story publishes; the subject is then as it was before."""
    compile_now(story, "acme", "ada", request_id=None)
    state = published(story)
    with operator_transaction(story.pool) as conn:
        for table in ("memories", "memory_versions", "passage_blocks", "passage_vectors", "runs"):
            conn.execute(f"delete from {table}")
        conn.execute(
            "update subjects set compiled_seq = 0, compiled_count = 0, memory_count = 0, passage_count = 0,"
            " speakers = '{}'"
        )
    return state


def test_a_subject_that_nobody_has_written_about_is_compiled_into_nothing(services: Services) -> None:
    run, _ = request_compile(services, "acme", "nobody", request_id=None)
    assert drive(services, run.id).state == "completed"
    status = compile_status(services, "acme", str(run.id))
    assert (status.run.state, status.memories) == ("completed", [])
    with operator_transaction(services.pool) as conn:
        assert conn.execute("select count(*) from subjects").fetchone() == (0,)


def test_stages_publish_what_a_synchronous_compile_publishes(expected: dict[str, Any], story: Services) -> None:
    assert {kind for kind, *_ in expected["memories"]} >= {"profile_fact", "episode_summary"}
    drive(story, begun(story))
    assert published(story) == expected


def test_nothing_is_visible_before_the_last_stage(expected: dict[str, Any], story: Services) -> None:
    run_id = begun(story)
    for _ in range(3):
        step(story, run_id)
        assert published(story)["memories"] == []
        assert published(story)["passages"] == []
    step(story, run_id)
    assert published(story) == expected


def test_killed_at_any_statement_the_pipeline_goes_on_and_publishes_once(
    expected: dict[str, Any], story: Services, dying_at: Killer
) -> None:
    deaths = 0
    for fatal in itertools.count(1):
        run_id = begun(story)
        try:
            with dying_at(fatal):
                drive(story, run_id)
        except Killed:
            deaths += 1
            expire_leases(story)
            drive(story, run_id)
            assert published(story) == expected, f"killed at statement {fatal}"
        else:
            break
        with operator_transaction(story.pool) as conn:
            assert conn.execute("select count(*) from stage_outputs").fetchone() == (0,)
            for table in ("memories", "memory_versions", "passage_blocks", "passage_vectors", "runs"):
                conn.execute(f"delete from {table}")
            conn.execute(
                "update subjects set compiled_seq = 0, compiled_count = 0, memory_count = 0, passage_count = 0,"
                " speakers = '{}'"
            )
    assert deaths > 20


def test_every_stage_run_twice_publishes_once(expected: dict[str, Any], story: Services) -> None:
    run_id = begun(story)
    for stage in STAGES:
        with operator_transaction(story.pool) as conn:
            first = runs.claim(conn, run_id, stage=stage, lease=timedelta(seconds=-1))
            second = runs.claim(conn, run_id, stage=stage, lease=LEASE)
        assert first is not None and second is not None
        assert STAGES[stage](story, first) is None, "the older claim must not commit"
        assert STAGES[stage](story, second) is not None
    assert published(story) == expected


def test_many_workers_at_once_publish_once(expected: dict[str, Any], story: Services) -> None:
    run_id = begun(story)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: step(story, run_id), range(64)))
    drive_rest = step(story, run_id)
    while drive_rest is not None:
        drive_rest = step(story, run_id)
    assert published(story) == expected


def test_compiling_again_changes_nothing(story: Services) -> None:
    compile_now(story, "acme", "ada", request_id=None)
    before = published(story)
    assert compile_now(story, "acme", "ada", request_id=None).memories == []
    drive(story, begun(story))
    assert published(story) == before


def test_batches_are_drained_by_one_run(services: Services, settings: Settings) -> None:
    small = replace(services, settings=replace(settings, compile_batch_size=3))
    append_episodes(small, "acme", said(*[f"Message number {i} about the export." for i in range(10)]), request_id=None)
    run_id = begun(small)
    drive(small, run_id)
    assert published(small)["counters"][3] == 10
    status = compile_status(small, "acme", str(run_id))
    assert status.run.state == "completed"
    assert status.run.result == {"memories_created": len(status.memories)}


def test_a_synchronous_compile_takes_one_batch_and_says_what_is_left(services: Services, settings: Settings) -> None:
    small = replace(services, settings=replace(settings, compile_batch_size=4))
    append_episodes(small, "acme", said(*[f"Message number {i}." for i in range(10)]), request_id=None)
    left = []
    while True:
        outcome = compile_now(small, "acme", "ada", request_id=None)
        left.append(outcome.remaining_episodes)
        if not outcome.has_more:
            break
    assert left == [6, 2, 0]


def test_synchronous_compiles_at_once_publish_once(expected: dict[str, Any], story: Services) -> None:
    with ThreadPoolExecutor(6) as threads:
        created = list(
            threads.map(lambda _: len(compile_now(story, "acme", "ada", request_id=None).memories), range(6))
        )
    assert sorted(created)[:-1] == [0] * 5
    assert published(story) == expected


def test_a_synchronous_compile_that_fails_leaves_its_run_to_the_workers(
    expected: dict[str, Any], story: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.compile.embed_waiting", broken)
        with pytest.raises(RuntimeError):
            compile_now(story, "acme", "ada", request_id=None)
    with operator_transaction(story.pool) as conn:
        left = conn.execute(
            "select id, error from runs where state in ('pending', 'running') and lease_until is null"
        ).fetchall()
    assert [error for _, error in left] == ["RuntimeError: out of luck"]
    drive(story, left[0][0])
    assert published(story) == expected


def test_a_subject_erased_meanwhile_stays_erased(story: Services) -> None:
    run_id = begun(story)
    for _ in range(2):
        step(story, run_id)
    with operator_transaction(story.pool) as conn:
        held = runs.claim(conn, run_id, stage=None, lease=LEASE)
    assert held is not None
    erase_subject(story, "acme", "ada")
    assert STAGES[held.stage](story, held) is None or step(story, run_id) is None
    with operator_transaction(story.pool) as conn:
        for table in (*subjects.TABLES_OF_A_SUBJECT, "subjects"):
            assert conn.execute(f"select count(*) from {table} where subject_id = 'ada'").fetchone() == (0,), table
        # What is left is the order to prove it, with what it looks for.
        assert conn.execute("select r.kind from stage_outputs join runs r on r.id = run_id").fetchall() == [
            ("erasure_proof",)
        ]


def test_a_contradicted_fact_is_superseded_and_its_history_kept(services: Services) -> None:
    append_episodes(services, "acme", said("I live in Lyon.", day=1), request_id=None)
    compile_now(services, "acme", "ada", request_id=None)
    append_episodes(services, "acme", said("I live in Porto.", day=9), request_id=None)
    compile_now(services, "acme", "ada", request_id=None)
    with tenant_transaction(services.pool, "acme") as conn:
        homes = conn.execute(
            "select content, status, valid_to, superseded_by is not null from memories"
            " where claim_key like 'location.current_home%' order by valid_from"
        ).fetchall()
        versions = conn.execute("select state ->> 'content', state ->> 'status' from memory_versions").fetchall()
    assert homes == [
        ("I live in Lyon", "superseded", datetime(2026, 3, 9, 9, 0, tzinfo=UTC), True),
        ("I live in Porto", "active", None, False),
    ]
    assert versions == [("I live in Lyon", "active")]


def test_memories_expire_by_kind(services: Services, settings: Settings) -> None:
    short = replace(services, settings=replace(settings, kind_ttl_days={"episode_summary": 30}))
    append_episodes(short, "acme", STORY, request_id=None)
    compile_now(short, "acme", "ada", request_id=None)
    with tenant_transaction(short.pool, "acme") as conn:
        rows = conn.execute("select kind, valid_to - valid_from from memories").fetchall()
    assert {lifetime for kind, lifetime in rows if kind == "episode_summary"} == {timedelta(days=30)}
    assert {lifetime for kind, lifetime in rows if kind != "episode_summary"} == {None}
