"""A sentence encoder in the pipeline: too slow for readers and for the API's process, and changed to while in use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import utcnow
from config.errors import Conflict
from config.settings import Settings
from pipelines import compile_stages, embedding_change, embedding_stages, embedding_status
from pipelines.compile import compile_now
from pipelines.context import ContextRequest, assemble_context
from pipelines.embedders import open_embedder
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.retrieval import find_passages
from pipelines.services import Services
from storage import runs
from storage.rows import Run
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.embedders import BUNDLED
from tests.fixtures.encoders import WIDTH, write_encoder

TENANT = "acme"
STAGES = {
    (embedding_change.KIND, embedding_change.BEGIN): embedding_stages.begin,
    (embedding_change.KIND, embedding_change.FILL): embedding_stages.fill,
    (embedding_change.KIND, embedding_change.FINISH): embedding_stages.finish,
    ("compile", compile_stages.COMPILE): compile_stages.draft,
    ("compile", compile_stages.LABEL): compile_stages.label,
    ("compile", compile_stages.EMBED): compile_stages.embed,
    ("compile", compile_stages.PUBLISH): compile_stages.publish,
}


@pytest.fixture
def encoding(services: Services, settings: Settings, tmp_path: Path) -> Services:
    """Services that are configured with an encoder, and wait for workers no longer than they must."""
    write_encoder(tmp_path / "model")
    configured = replace(settings, embedding_model=str(tmp_path / "model"), compile_wait_seconds=0.05)
    return replace(services, settings=configured, embedder=open_embedder(configured))


def tell(services: Services) -> None:
    lines = ["I keep seven bees behind the house", "The roof of the shed leaks", "My sister moved to Lisbon in May"]
    episodes = [
        NewEpisode(subject_id="ada", session_id="s", source="chat", type="message", payload={"text": line})
        for line in lines
    ]
    append_episodes(services, TENANT, episodes, request_id=None)


def work(services: Services) -> None:
    """Do what is due, on whatever queue, as workers do."""
    while True:
        with operator_transaction(services.pool) as conn:
            rows = conn.execute(
                "select id from runs where state = 'pending' and kind in ('compile', 'embedding_change') order by id"
            ).fetchall()
            claimed = [runs.claim(conn, id, stage=None, lease=timedelta(seconds=30)) for (id,) in rows]
        if not claimed:
            return
        for run in claimed:
            to_the_end(services, run)


def to_the_end(services: Services, run: Run | None) -> None:
    while run is not None and run.state in ("pending", "running"):
        if run.state == "pending":
            with operator_transaction(services.pool) as conn:
                run = runs.claim(conn, run.id, stage=None, lease=timedelta(seconds=30))
            assert run is not None
        run = STAGES[run.kind, run.stage](services, run)


def widths(services: Services) -> tuple[int, int]:
    """How wide the subject's vectors are, and how many of its passages have one."""
    with tenant_transaction(services.pool, TENANT) as conn:
        found = find_passages(conn, TENANT, "ada", task="bees", services=services, now=utcnow())
    assert found is not None and found.is_semantic
    return found.columns.vectors.shape[1], int((found.columns.scale > 0).sum())


def text(services: Services) -> str:
    request = ContextRequest(subject_id="ada", task="Where are the bees?", max_tokens=200)
    return assemble_context(services, TENANT, request).assembled_context


def test_workers_compile_what_a_request_would_wait_for(encoding: Services) -> None:
    tell(encoding)
    with pytest.raises(Conflict):
        compile_now(encoding, TENANT, "ada", request_id=None)
    with operator_transaction(encoding.pool) as conn:
        assert conn.execute("select kind, queue, state from runs").fetchall() == [("compile", "compile", "pending")]
    work(encoding)
    width, embedded = widths(encoding)
    assert width == WIDTH and embedded >= 3
    assert "seven bees" in text(encoding)


def test_what_is_not_compiled_yet_is_found_by_its_words(encoding: Services) -> None:
    tell(encoding)
    assert widths(encoding) == (WIDTH, 0)
    assert "seven bees" in text(encoding)


def test_a_subject_moves_from_static_vectors_to_the_encoder_and_back(services: Services, encoding: Services) -> None:
    tell(services)
    compile_now(services, TENANT, "ada", request_id=None)
    before = widths(encoding)
    assert before[0] == 256 and encoding.embedder is not None
    embedding_change.begin_change(encoding.pool, target=encoding.embedder.model)
    work(encoding)
    assert widths(encoding) == (WIDTH, before[1])
    assert "seven bees" in text(encoding)
    # A process that is configured with the bundled model reads it too: the name says where the model is.
    assert widths(services) == (WIDTH, before[1])
    embedding_change.roll_back(encoding.pool)
    assert widths(encoding) == before
    assert embedding_status.status(encoding.pool, configured_model=BUNDLED).subjects[0].model == BUNDLED
