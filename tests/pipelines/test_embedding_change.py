"""Changing the embedding model: every subject is read with one model at any time, and always answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from config.clock import utcnow
from config.errors import Conflict, NotFound, Unavailable
from pipelines import embedding_change, embedding_fill, embedding_stages, embedding_status
from pipelines.compile import compile_now
from pipelines.context import ContextRequest, assemble_context
from pipelines.embedding_change import BEGIN, FILL, FINISH
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.retrieval import find_passages
from pipelines.services import Services
from storage import passage_vectors, runs, subjects
from storage.passages import BLOCK
from storage.rows import Run
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.embedders import BUNDLED, OTHER, WordEmbedder, with_models

TENANT = "acme"
LEASE = timedelta(seconds=30)
STAGES = {
    (embedding_change.KIND, BEGIN): embedding_stages.begin,
    (embedding_change.KIND, FILL): embedding_stages.fill,
    (embedding_change.KIND, FINISH): embedding_stages.finish,
    (embedding_fill.KIND, embedding_fill.STAGE): embedding_fill.fill,
}


@pytest.fixture
def other() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def both(services: Services, other: WordEmbedder) -> Services:
    """Services configured with the bundled model, which know the other one."""
    return with_models(services, other)


def tell(services: Services, subject_id: str, *lines: str, compiled: bool = True) -> None:
    episodes = [
        NewEpisode(subject_id=subject_id, session_id="s", source="chat", type="message", payload={"text": line})
        for line in lines
    ]
    append_episodes(services, TENANT, episodes, request_id=None)
    if compiled:
        while compile_now(services, TENANT, subject_id, request_id=None).has_more:
            pass


def many(count: int, about: str) -> list[str]:
    return [f"Line {number} tells of {about} number {number} in the old garden" for number in range(count)]


def due(services: Services) -> list[Run]:
    with operator_transaction(services.pool) as conn:
        rows = conn.execute(
            "select id from runs where kind like 'embed%' and state in ('pending', 'running')"
            " and run_after <= now() order by created_at, id"
        ).fetchall()
        found = [runs.claim(conn, id, stage=None, lease=LEASE) for (id,) in rows]
    return [run for run in found if run is not None]


def step(services: Services, run: Run) -> Run | None:
    return STAGES[run.kind, run.stage](services, run)


def work(services: Services) -> None:
    """Do all runs of embeddings, and those they lead to."""
    while claimed := due(services):
        for run in claimed:
            step(services, run)


def model_of(services: Services, subject_id: str) -> str | None:
    with tenant_transaction(services.pool, TENANT) as conn:
        progress = subjects.progress(conn, TENANT, subject_id)
    return progress.embedding_model if progress else None


def lacks(services: Services, subject_id: str, model: str) -> bool:
    with tenant_transaction(services.pool, TENANT) as conn:
        return passage_vectors.lacks_vectors(conn, TENANT, subject_id, model)


def test_all_subjects_are_moved_and_measured(both: Services) -> None:
    tell(both, "ada", *many(BLOCK + 20, "roses"))
    tell(both, "bob", "Bob keeps seven bees behind the old wooden house")
    change = embedding_change.begin_change(both.pool, target=OTHER)
    assert (change.source_model, change.target_model) == (BUNDLED, OTHER)
    assert model_of(both, "ada") == BUNDLED

    work(both)

    status = embedding_status.status(both.pool, configured_model=BUNDLED)
    assert [(count.model, count.subjects) for count in status.subjects] == [(OTHER, 2)]
    assert status.current is not None and status.current.change.state == "switched"
    assert status.current.change.subjects_done == 2
    assert status.current.passages_per_second is not None
    assert not lacks(both, "ada", OTHER) and not lacks(both, "bob", OTHER)
    for recall in (status.current.change.recall_before, status.current.change.recall_after):
        assert recall is not None and recall["recall_at_10"] > 0.9 and recall["queries"] > 1


def test_what_is_read_is_of_one_model_before_and_after(both: Services, other: WordEmbedder) -> None:
    tell(both, "ada", *many(30, "roses"))

    def dimensions() -> int:
        with tenant_transaction(both.pool, TENANT) as conn:
            found = find_passages(conn, TENANT, "ada", task="roses", services=both, now=utcnow())
        assert found is not None and found.is_semantic and found.scores.semantic.any()
        return found.columns.vectors.shape[1]

    assert dimensions() == 256
    embedding_change.begin_change(both.pool, target=OTHER)
    assert dimensions() == 256
    work(both)
    assert dimensions() == 384


def test_new_passages_get_vectors_of_both_models_until_the_change_is_closed(both: Services) -> None:
    tell(both, "ada", *many(10, "roses"))
    embedding_change.begin_change(both.pool, target=OTHER)
    tell(both, "new", *many(10, "tulips"))
    assert not lacks(both, "new", BUNDLED) and not lacks(both, "new", OTHER)
    work(both)
    tell(both, "ada", *many(300, "lilies"))
    assert not lacks(both, "ada", BUNDLED) and not lacks(both, "ada", OTHER)
    assert due(both) == []
    embedding_change.prune(both.pool)
    tell(both, "later", *many(10, "violets"))
    assert model_of(both, "later") == OTHER
    assert lacks(both, "later", BUNDLED) and not lacks(both, "later", OTHER)


def test_passages_that_were_embedded_before_the_change_began_are_filled_after_it(
    both: Services, other: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(both, "ada", *many(10, "roses"))
    tell(both, "ada", "Late words about the old garden gate", compiled=False)

    from pipelines import compile as compiling

    embed = compiling.embed_waiting

    def change_in_between(*arguments: object) -> object:
        embedded = embed(*arguments)  # type: ignore[arg-type]
        embedding_change.begin_change(both.pool, target=OTHER)
        work(both)
        return embedded

    monkeypatch.setattr(compiling, "embed_waiting", change_in_between)
    compile_now(both, TENANT, "ada", request_id=None)
    assert model_of(both, "ada") == OTHER
    assert lacks(both, "ada", OTHER)
    work(both)
    assert not lacks(both, "ada", OTHER)


def test_a_fill_that_meets_new_passages_leaves_none_out(both: Services, other: WordEmbedder) -> None:
    tell(both, "ada", *many(BLOCK - 5, "roses"))
    embedding_change.begin_change(both.pool, target=OTHER)
    told = threading.Event()

    def meanwhile(texts: Sequence[str]) -> None:
        if len(texts) > 100 and not told.is_set():
            told.set()
            tell(both, "ada", *many(40, "lilies"))

    other.before = meanwhile
    work(both)
    assert told.is_set()
    assert model_of(both, "ada") == OTHER
    assert not lacks(both, "ada", OTHER) and not lacks(both, "ada", BUNDLED)


def test_a_rollback_reads_the_kept_vectors_at_once_and_stops_the_fill(both: Services) -> None:
    for name in ("ada", "bob", "cyd"):
        tell(both, name, *many(20, name))
    embedding_change.begin_change(both.pool, target=OTHER)
    work(both)
    change = embedding_change.roll_back(both.pool)
    assert change.state == "rolled_back"
    assert {model_of(both, name) for name in ("ada", "bob", "cyd")} == {BUNDLED}
    assert not lacks(both, "ada", BUNDLED)
    embedding_change.prune(both.pool)
    assert lacks(both, "ada", OTHER)
    tell(both, "dan", *many(5, "dan"))
    assert model_of(both, "dan") == BUNDLED


def test_a_rollback_in_the_middle_leaves_no_subject_behind(both: Services, other: WordEmbedder) -> None:
    for name in ("ada", "bob"):
        tell(both, name, *many(20, name))
    embedding_change.begin_change(both.pool, target=OTHER)
    rolled_back = threading.Event()

    def meanwhile(texts: Sequence[str]) -> None:
        if len(texts) > 10 and not rolled_back.is_set():
            rolled_back.set()
            embedding_change.roll_back(both.pool)

    other.before = meanwhile
    work(both)
    assert rolled_back.is_set()
    assert {model_of(both, name) for name in ("ada", "bob")} == {BUNDLED}


def test_one_change_at_a_time(both: Services) -> None:
    with pytest.raises(NotFound):
        embedding_change.roll_back(both.pool)
    tell(both, "ada", *many(5, "roses"))
    with pytest.raises(Conflict, match="already"):
        embedding_change.begin_change(both.pool, target=BUNDLED)
    embedding_change.begin_change(both.pool, target=OTHER)
    with pytest.raises(Conflict, match="prune"):
        embedding_change.begin_change(both.pool, target="local:third@64")
    with pytest.raises(Conflict, match="still being moved"):
        embedding_change.prune(both.pool)


def test_pruning_deletes_only_what_nobody_reads(both: Services) -> None:
    tell(both, "ada", *many(20, "roses"))
    embedding_change.begin_change(both.pool, target=OTHER)
    work(both)
    assert embedding_change.prune(both.pool) == 1
    assert not lacks(both, "ada", OTHER) and lacks(both, "ada", BUNDLED)
    status = embedding_status.status(both.pool, configured_model=BUNDLED)
    assert status.current is None and status.history[0].state == "closed"


def test_an_outage_loses_no_place(both: Services, other: WordEmbedder) -> None:
    for name in ("ada", "bob", "cyd", "dan", "eve"):
        tell(both, name, *many(5, name))
    embedding_change.begin_change(both.pool, target=OTHER)
    for run in due(both):
        step(both, run)

    def away(texts: Sequence[str]) -> None:
        raise Unavailable("the provider is away")

    other.before = away
    for run in due(both):
        with pytest.raises(Unavailable):
            step(both, run)
        with operator_transaction(both.pool) as conn:
            runs.retry_later(conn, run, delay=timedelta(), error="away")
    assert model_of(both, "ada") == BUNDLED
    other.before = lambda texts: None
    work(both)
    assert {model_of(both, name) for name in ("ada", "bob", "cyd", "dan", "eve")} == {OTHER}


def test_a_subject_that_the_model_refuses_is_a_dead_letter_and_reads_on(both: Services, other: WordEmbedder) -> None:
    tell(both, "ada", *many(5, "roses"))
    tell(both, "odd", "The unspeakable word stands in this one line")

    def refuse(texts: Sequence[str]) -> None:
        if any("unspeakable" in text for text in texts):
            raise ValueError("refused")

    other.before = refuse
    embedding_change.begin_change(both.pool, target=OTHER)
    work(both)
    assert (model_of(both, "ada"), model_of(both, "odd")) == (OTHER, BUNDLED)
    status = embedding_status.status(both.pool, configured_model=BUNDLED)
    assert status.current is not None and status.current.change.subjects_failed == 1
    answer = assemble_context(both, TENANT, ContextRequest(subject_id="odd", task="unspeakable", max_tokens=200))
    assert "unspeakable word" in answer.assembled_context


def test_a_process_that_does_not_know_the_model_answers_by_words(both: Services, services: Services) -> None:
    tell(both, "ada", *many(20, "roses"))
    embedding_change.begin_change(both.pool, target=OTHER)
    work(both)
    request = ContextRequest(subject_id="ada", task="Line 7 roses", max_tokens=200, explain=True)
    alone = assemble_context(services, TENANT, request)
    assert "number 7" in alone.assembled_context
    assert alone.search_mode == "text_fallback"
    assert assemble_context(both, TENANT, request).search_mode == "semantic"
