"""Compiling a subject on request: at once in the caller's process, or as a run that workers do.

Both go through the same run row, so a subject is compiled by one at a time, whoever asked.
"""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import CompilationFailed, Conflict, NotFound
from config.ids import uuid7
from pipelines import attempts, compile_runs, publication
from pipelines.compile_runs import COMPILE, queue_of
from pipelines.compile_waiting import RETRY_AFTER_SECONDS, CompileOutcome, compile_by_workers
from pipelines.drafting import Waiting, draft_subject, load_waiting
from pipelines.embedding import embed_waiting
from pipelines.labels.suggesting import label_drafts
from pipelines.policy.evaluation import ANONYMOUS, Caller
from pipelines.policy.in_force import reading_as
from pipelines.providers.calls import ProviderFailure
from pipelines.services import Services
from storage import compile_requests, memories, run_dispatch, runs, subjects
from storage.reading import reading_transaction
from storage.rows import Memory, Run
from storage.subjects import SubjectProgress
from storage.transactions import DATABASE_AWAY, operator_transaction, tenant_transaction

#: Seconds that a synchronous compile waits while somebody else compiles the subject (contract: then 409).
WAIT_SECONDS = 5.0

#: Seconds between two looks at the subject's run.
POLL_SECONDS = 0.05


class CompileStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An asynchronous compile, with the memories it has published."""

    run: Run
    memories: list[Memory]


def compile_for(
    services: Services, tenant_id: str, subject_id: str, *, request_id: str | None, caller: Caller
) -> CompileOutcome:
    """As `compile_now`, with the memories as the caller may see them."""
    outcome = compile_now(services, tenant_id, subject_id, request_id=request_id)
    if not outcome.memories or not outcome.has_policy:
        return outcome
    with reading_as(services, tenant_id, caller, subject_id=subject_id) as reader:
        shown = reader.visibility(subject_id).shown_memories(outcome.memories)
    return msgspec.structs.replace(outcome, memories=shown)


def compile_now(services: Services, tenant_id: str, subject_id: str, *, request_id: str | None) -> CompileOutcome:
    """Compile the subject's oldest waiting episodes, at most `STATEWAVE_COMPILE_BATCH_SIZE`.

    Raises:
        Conflict: when somebody else has been compiling the subject for `WAIT_SECONDS`.
        CompilationFailed: when it takes a model, and none answers.
    """
    if queue_of(services.settings) == "llm":
        return compile_by_workers(services, tenant_id, subject_id, request_id=request_id)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with tenant_transaction(services.pool, tenant_id) as conn:
            progress = subjects.progress(conn, tenant_id, subject_id)
            if progress is None or progress.uncompiled == 0:
                return CompileOutcome(memories=[], remaining_episodes=0)
            if _embeds_slowly(services, progress):
                break
            run, _ = compile_requests.request_compile(
                conn, tenant_id, subject_id, run_id=uuid7(), request_id=request_id
            )
            claimed = runs.claim(
                conn,
                run.id,
                stage=COMPILE,
                lease=timedelta(seconds=services.settings.lease_seconds),
                in_place=True,
            )
            if claimed is not None:
                # Whoever published last has let go of the run, so what is read now is what still waits.
                waiting = load_waiting(conn, tenant_id, subject_id, limit=services.settings.compile_batch_size)
        if claimed is not None:
            return _compile_in_place(services, claimed, waiting)
        if time.monotonic() >= deadline:
            raise Conflict(
                f"subject {subject_id} is being compiled; ask again when that is done", retry_after=RETRY_AFTER_SECONDS
            )
        time.sleep(POLL_SECONDS)
    return compile_by_workers(services, tenant_id, subject_id, request_id=request_id)


def _embeds_slowly(services: Services, progress: SubjectProgress) -> bool:
    """Whether a batch of the subject takes seconds of this machine to embed: too long for a request's process."""
    embedders = services.embedders_of([progress.embedding_model, *progress.changing_models])
    return any(not embedder.is_instant and not embedder.is_remote for embedder in embedders)


def _compile_in_place(services: Services, run: Run, waiting: Waiting) -> CompileOutcome:
    """Compile a batch here; if that fails, workers have the run at once instead of when its lease ends."""
    try:
        return _compile_batch(services, run, waiting)
    except Conflict:
        raise  # Somebody else has it already.
    except BaseException as ex:
        with contextlib.suppress(*DATABASE_AWAY):
            _hand_over(services, run, ex)
        if isinstance(ex, ProviderFailure):
            raise CompilationFailed(retry_after=RETRY_AFTER_SECONDS) from None
        raise


def _hand_over(services: Services, run: Run, ex: BaseException) -> None:
    after = attempts.give_back(services, run, ex) if isinstance(ex, Exception) else run
    with operator_transaction(services.pool) as conn:
        if after is not None:
            runs.release(conn, after)
        run_dispatch.announce(conn, run.queue)


def _compile_batch(services: Services, run: Run, waiting: Waiting) -> CompileOutcome:
    """The stages of a run, one after the other, in this process; one transaction writes."""
    subject_id = run.subject_id or ""
    settings = services.settings
    drafts = label_drafts(draft_subject(waiting, kind_ttl_days=settings.kind_ttl_days), settings)
    embedded = embed_waiting(waiting, drafts, services, run)
    with reading_transaction(services.pool, run.tenant_id) as (conn, state):
        outcome = publication.publish(conn, run, drafts, embedded, settings=services.settings, now=utcnow())
        if outcome is None:
            raise Conflict(f"the compilation of subject {subject_id} was taken over", retry_after=RETRY_AFTER_SECONDS)
        runs.complete(conn, run, result={"memories_created": outcome.memories_created})
        if outcome.remaining_episodes and settings.auto_compile_after_seconds is not None:
            compile_runs.follow_up(conn, run)
    services.usage.count(run.tenant_id, "compile_jobs")
    services.usage.count(run.tenant_id, "memories", outcome.memories_created)
    return CompileOutcome(
        memories=outcome.memories,
        remaining_episodes=outcome.remaining_episodes,
        has_policy=state.bundle_id is not None,
    )


def request_compile(services: Services, tenant_id: str, subject_id: str, *, request_id: str | None) -> tuple[Run, bool]:
    """See to it that the subject is compiled soon.

    Returns:
        The run that will do it, and whether it had been asked for before.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        run, joined = compile_requests.request_compile(
            conn,
            tenant_id,
            subject_id,
            run_id=uuid7(),
            request_id=request_id,
            queue=queue_of(services.settings),
        )
        run_dispatch.announce(conn, run.queue)
    return run, joined


def compile_status(services: Services, tenant_id: str, job_id: str, *, caller: Caller = ANONYMOUS) -> CompileStatus:
    """How far an asynchronous compile is, with the memories as the caller may see them.

    Raises:
        NotFound: when the tenant has no such job, or it is older than its retention.
    """
    try:
        run_id = UUID(job_id)
    except ValueError:
        raise NotFound(f"there is no compile job {job_id}") from None
    with reading_as(services, tenant_id, caller) as reader:
        conn = reader.conn
        run = runs.find(conn, run_id)
        if run is None or run.kind != "compile":
            raise NotFound(f"there is no compile job {job_id}")
        published = memories.memories_of_run(conn, tenant_id, run_id) if run.state == "completed" else []
        if published:
            published = reader.visibility(run.subject_id or "").shown_memories(published)
    return CompileStatus(run=run, memories=published)
