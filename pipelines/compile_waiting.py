"""A synchronous compile where a model compiles: workers do it, and the caller waits for the row."""

from __future__ import annotations

import time

import msgspec

from config.errors import CompilationFailed, Conflict
from config.ids import uuid7
from pipelines.compile_runs import queue_of
from pipelines.services import Services
from storage import compile_requests, memories, run_dispatch, runs, subjects
from storage.rows import Memory, Run
from storage.transactions import tenant_transaction

#: Seconds a refused caller is told to wait.
RETRY_AFTER_SECONDS = 2

#: Seconds between two looks at the run: at first, and at most.
_FIRST_LOOK, _LATER_LOOK = 0.05, 0.5


class CompileOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a synchronous compile made, and what still waits."""

    memories: list[Memory]
    remaining_episodes: int
    #: Whether a policy may be in force that hides some of the memories from whoever asked.
    has_policy: bool = False

    @property
    def has_more(self) -> bool:
        return self.remaining_episodes > 0


def compile_by_workers(
    services: Services, tenant_id: str, subject_id: str, *, request_id: str | None
) -> CompileOutcome:
    """Have workers compile the subject and wait for them.

    A run that has published something when the time is over is reported with what it has published.

    Raises:
        Conflict: when nothing was published within `STATEWAVE_COMPILE_WAIT_SECONDS`; the run goes on.
        CompilationFailed: when no model answered. The episodes wait, and the run is tried again by itself.
    """
    deadline = time.monotonic() + services.settings.compile_wait_seconds
    with tenant_transaction(services.pool, tenant_id) as conn:
        progress = subjects.progress(conn, tenant_id, subject_id)
        if progress is None or progress.uncompiled == 0:
            return CompileOutcome(memories=[], remaining_episodes=0)
        asked, _ = compile_requests.request_compile(
            conn,
            tenant_id,
            subject_id,
            run_id=uuid7(),
            request_id=request_id,
            queue=queue_of(services.settings),
        )
        run_dispatch.announce(conn, asked.queue)
    pause = _FIRST_LOOK
    while True:
        outcome = _look(services, asked, is_last=time.monotonic() >= deadline)
        if outcome is not None:
            return outcome
        time.sleep(pause)
        pause = min(pause * 1.3, _LATER_LOOK)


def _look(services: Services, asked: Run, *, is_last: bool) -> CompileOutcome | None:
    subject_id = asked.subject_id or ""
    with tenant_transaction(services.pool, asked.tenant_id) as conn:
        run = runs.find(conn, asked.id)
        if run is None or run.state == "cancelled":
            raise Conflict(f"the compilation of subject {subject_id} was cancelled")
        if run.state == "failed":
            # Not one that clients try again by themselves: an operator has to look at it.
            raise Conflict(f"compile job {run.id} has failed for good; its episodes wait", code="compilation_failed")
        if run.state == "pending" and run.fence > asked.fence:
            raise CompilationFailed(retry_after=RETRY_AFTER_SECONDS)
        if run.state != "completed" and not (is_last and run.params.get("batches")):
            if is_last:
                raise Conflict(
                    f"subject {subject_id} is being compiled by job {run.id}; ask again when that is done",
                    retry_after=RETRY_AFTER_SECONDS,
                )
            return None
        progress = subjects.progress(conn, asked.tenant_id, subject_id)
        return CompileOutcome(
            memories=memories.memories_of_run(conn, asked.tenant_id, run.id),
            remaining_episodes=progress.uncompiled if progress else 0,
            has_policy=True,
        )
