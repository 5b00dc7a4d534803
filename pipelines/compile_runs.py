"""What becomes of a compile run after a batch: the next batch, or its end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from config.ids import uuid7
from config.settings import Settings
from storage import compile_requests, runs
from storage.rows import Run
from storage.transactions import Connection

#: Name of the kind, and of its first stage.
COMPILE = "compile"

#: Parameter: how many episodes the run still compiles one by one (`pipelines.poison`).
ISOLATE = "isolate"

#: Parameter: what its batches have to say, such as why no model was asked.
NOTES = "notes"
NO_NOTES: Mapping[str, str] = {}

#: A run that made progress one by one has been found guilty of this many crashes at most.
CRASHES_WHILE_ISOLATING = 1


def queue_of(settings: Settings) -> str:
    """The queue of compile runs: that of the processors, or that of the model providers."""
    waits = settings.compiler_type == "llm" or settings.embedding_provider == "litellm"
    return "llm" if waits else "compile"


def go_on(
    conn: Connection,
    run: Run,
    *,
    created: int,
    remaining: int,
    most_batches: int,
    notes: Mapping[str, str] = NO_NOTES,
) -> Run:
    """Begin the next batch of the run, or complete it. Call it in the transaction that published, holding the run.

    Args:
        created: memories that the batch made.
        remaining: episodes of the subject that still wait.
        most_batches: batches after which another run takes over.
        notes: what is to be said of the batch in the run's result.

    Returns:
        The run as it stands when the transaction commits.
    """
    created += int(run.params.get("memories_created", 0))
    batches = int(run.params.get("batches", 0)) + 1
    noted = {**run.params.get(NOTES, {}), **notes}
    if remaining and batches < most_batches:
        isolate = max(0, int(run.params.get(ISOLATE, 0)) - 1)
        params = {"memories_created": created, "batches": batches, ISOLATE: isolate, NOTES: noted}
        runs.begin_again(conn, run, stage=COMPILE, params=params, crashes=CRASHES_WHILE_ISOLATING if isolate else 0)
        return msgspec.structs.replace(run, stage=COMPILE)
    runs.complete(conn, run, result={"memories_created": created, **noted})
    if remaining:
        follow_up(conn, run)
    return msgspec.structs.replace(run, state="completed")


def follow_up(conn: Connection, run: Run) -> None:
    """See to it that the subject of a run that ends is compiled further."""
    if run.subject_id is not None:
        compile_requests.schedule_compiles(
            conn,
            run.tenant_id,
            {run.subject_id: uuid7()},
            run_after=None,
            request_id=run.request_id,
            queue=run.queue,
        )
