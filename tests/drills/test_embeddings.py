"""The embedding model is changed while context is asked for all the time: nobody is refused, everybody is moved."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from config.clock import utcnow
from config.settings import Settings
from pipelines import embedding_change, embedding_stages, embedding_status
from pipelines.compile import compile_now
from pipelines.context import ContextRequest, assemble_context
from pipelines.embedders import open_embedder, open_model
from pipelines.embedding_change import BEGIN, FILL, FINISH
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.retrieval import find_passages
from pipelines.services import Services
from storage import runs
from storage.transactions import open_pool, operator_transaction, tenant_transaction
from tests.drills.report import Report
from tests.fixtures.databases import DatabaseMaker
from tests.fixtures.embedders import BUNDLED, OTHER, WordEmbedder, with_models

TENANT = "drill"
STAGES = {BEGIN: embedding_stages.begin, FILL: embedding_stages.fill, FINISH: embedding_stages.finish}
SIZES = {"short": (20, 100), "long": (110, 200)}


@pytest.fixture
def drilled(new_database: DatabaseMaker) -> Iterator[Services]:
    """Services over a database of their own, which know a model of 256 and one of 384 dimensions."""
    with new_database() as url:
        pool = open_pool(url, size=12)
        settings = Settings(database_url=url)
        services = Services(
            settings=settings,
            pool=pool,
            embedder=open_embedder(settings),
            ping_broker=lambda: None,
            open_model=open_model(settings, None),
        )
        yield with_models(services, WordEmbedder())
        pool.close()


def tell(services: Services, subject_id: str, count: int, first: int = 0) -> None:
    lines = (f"Order {first + n} of garden tools number {n} went to street {n % 17}" for n in range(count))
    while batch := list(itertools.islice(lines, 100)):
        episodes = [
            NewEpisode(subject_id=subject_id, session_id="s", source="chat", type="message", payload={"text": line})
            for line in batch
        ]
        append_episodes(services, TENANT, episodes, request_id=None)
    while compile_now(services, TENANT, subject_id, request_id=None).has_more:
        pass


def work(services: Services, done: threading.Event) -> None:
    """A worker: takes whatever run of a change is due."""
    while not done.is_set():
        with operator_transaction(services.pool) as conn:
            rows = conn.execute(
                "select id from runs where kind = 'embedding_change' and state in ('pending', 'running')"
                " and lease_until is null order by id"
            ).fetchall()
            claimed = (runs.claim(conn, id, stage=None, lease=timedelta(seconds=60)) for (id,) in rows)
            run = next((run for run in claimed if run is not None), None)
        if run is None:
            time.sleep(0.01)
        else:
            STAGES[run.stage](services, run)


def test_the_embedding_model_is_changed_under_load(drilled: Services, report: Report, form: str) -> None:
    subjects, each = SIZES[form]
    names = [f"subject-{number}" for number in range(subjects)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: tell(drilled, name, each), names))
    done = threading.Event()
    answers: list[int] = []
    widths: set[int] = set()

    def read() -> None:
        for number in itertools.count():
            if done.is_set():
                return
            name = names[number % subjects]
            request = ContextRequest(subject_id=name, task=f"Where did order {number % each} go?", max_tokens=400)
            bundle = assemble_context(drilled, TENANT, request)
            assert "garden tools" in bundle.assembled_context
            with tenant_transaction(drilled.pool, TENANT) as conn:
                found = find_passages(conn, TENANT, name, task="tools", services=drilled, now=utcnow())
            assert found is not None and found.is_semantic
            assert (found.columns.scale > 0).all(), "a passage without a vector of the model that is read"
            widths.add(found.columns.vectors.shape[1])
            answers.append(number)

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        while not answers and not any(reader.done() for reader in readers):
            time.sleep(0.01)
        embedding_change.begin_change(drilled.pool, target=OTHER)
        workers = [threads.submit(work, drilled, done) for _ in range(2)]
        tell(drilled, names[0], 50, first=10_000)
        while _state(drilled) == "filling" and not any(future.done() for future in (*readers, *workers)):
            time.sleep(0.05)
        done.set()
        for future in (*readers, *workers):
            future.result()

    status = embedding_status.status(drilled.pool, configured_model=BUNDLED)
    assert [(count.model, count.subjects) for count in status.subjects] == [(OTHER, subjects)]
    assert widths == {256, 384}
    change = status.history[0]
    assert change.recall_before is not None and change.recall_after is not None
    report.note(passages=status.subjects[0].passages, requests=len(answers), failed=0)


def _state(services: Services) -> str:
    with operator_transaction(services.pool) as conn:
        row = conn.execute("select state from embedding_changes").fetchone()
    assert row is not None
    return str(row[0])
