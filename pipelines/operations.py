"""What operators see and do: queues, runs, dead letters. For the admin API and for the shell alike.

Functions take a pool, not a process's services: `statewave` commands work straight on the database.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from config.errors import BadRequest, Conflict, NotFound
from config.queues import QUEUES
from pipelines.piecemeal import piecemeal
from storage import run_dispatch, run_operations
from storage.rows import Run
from storage.run_operations import QueueFigures, RunDetail, RunFilter
from storage.transactions import Connection, Pool, operator_transaction


def list_queues(pool: Pool) -> list[QueueFigures]:
    """Depth, age and speed of every queue."""
    with operator_transaction(pool) as conn:
        return run_operations.queue_figures(conn, QUEUES)


def pause_queue(pool: Pool, queue: str, *, reason: str) -> None:
    """Hand out nothing of the queue any more. What is under way goes on to the end of its stage.

    Raises:
        NotFound: when there is no such queue.
    """
    _known(queue)
    with operator_transaction(pool) as conn:
        run_dispatch.pause(conn, queue, reason=reason)


def resume_queue(pool: Pool, queue: str) -> None:
    """Hand out again.

    Raises:
        NotFound: when there is no such queue.
    """
    _known(queue)
    with operator_transaction(pool) as conn:
        run_dispatch.resume(conn, queue)
        run_dispatch.announce(conn, queue)


def list_runs(pool: Pool, which: RunFilter, *, cursor: UUID | None, limit: int) -> tuple[list[Run], UUID | None]:
    """Runs, the newest first.

    Returns:
        At most `limit` runs, and the cursor of the next page if there is one.
    """
    with operator_transaction(pool) as conn:
        page = run_operations.list_runs(conn, which, before=cursor, limit=limit + 1)
    return page[:limit], page[limit - 1].id if len(page) > limit else None


def page_jobs(pool: Pool, which: RunFilter, *, limit: int, offset: int) -> tuple[list[Run], int]:
    """Runs by page number, and how many there are."""
    with operator_transaction(pool) as conn:
        return run_operations.page_runs(conn, which, limit=limit, offset=offset)


def show_run(pool: Pool, run_id: UUID) -> RunDetail:
    """A run with its history.

    Raises:
        NotFound: when there is none with this id.
    """
    with operator_transaction(pool) as conn:
        found = run_operations.find_detail(conn, run_id)
    if found is None:
        raise NotFound(f"there is no run {run_id}")
    return found


def retry_run(pool: Pool, run_id: UUID) -> RunDetail:
    """Make a dead letter or a cancelled run due again, at the stage where it ended.

    Raises:
        NotFound: when there is none with this id.
        Conflict: when it is neither.
    """
    with operator_transaction(pool) as conn:
        retried = run_operations.retry(conn, RunFilter(), run_id=run_id, most=1)
        _announce(conn, retried)
    found = show_run(pool, run_id)
    if not retried:
        raise Conflict(f"run {run_id} is {found.state}; only failed and cancelled runs can be retried")
    return found


def cancel_run(pool: Pool, run_id: UUID) -> RunDetail:
    """End a run that is not finished; a worker that is at it cannot commit.

    Raises:
        NotFound: when there is none with this id.
        Conflict: when it is finished.
    """
    with operator_transaction(pool) as conn:
        cancelled = run_operations.cancel(conn, run_id)
    found = show_run(pool, run_id)
    if not cancelled:
        raise Conflict(f"run {run_id} is {found.state} already")
    return found


def retry_dead_letters(pool: Pool, which: RunFilter) -> int:
    """Make every dead letter that the filter means due again.

    Returns:
        How many there were.
    """
    failed = msgspec.structs.replace(which, states=("failed",))

    def retry(conn: Connection, most: int) -> int:
        retried = run_operations.retry(conn, failed, run_id=None, most=most)
        _announce(conn, retried)
        return len(retried)

    return piecemeal(pool, retry)


def purge_finished(pool: Pool, which: RunFilter) -> int:
    """Delete completed runs and dead letters.

    Returns:
        How many were deleted.

    Raises:
        BadRequest: when the filter means everything.
    """
    if which == RunFilter(kind=which.kind):
        raise BadRequest("name at least one of status, subject_id and tenant_id")
    return piecemeal(pool, lambda conn, most: run_operations.delete_finished(conn, which, most=most))


def delete_run(pool: Pool, run_id: UUID, *, kind: str) -> None:
    """Delete one finished run.

    Raises:
        NotFound: when there is none of this kind with this id.
        Conflict: when it is not finished.
    """
    with operator_transaction(pool) as conn:
        deleted = run_operations.delete_finished(conn, RunFilter(kind=kind), run_id=run_id)
        found = run_operations.find_detail(conn, run_id)
    if deleted:
        return
    if found is None or found.kind != kind:
        raise NotFound(f"there is no job {run_id}")
    raise Conflict(f"job {run_id} is {found.state}")


def reset_stuck(pool: Pool, *, older_than_minutes: int) -> list[UUID]:
    """Take runs from workers that have been at one stage for too long.

    Returns:
        The runs that are due again.
    """
    with operator_transaction(pool) as conn:
        reset = run_operations.reset_stuck(conn, older_than_seconds=older_than_minutes * 60)
        _announce(conn, reset)
    return [run_id for run_id, _ in reset]


def _announce(conn: Connection, changed: list[tuple[UUID, str]]) -> None:
    for queue in {queue for _, queue in changed}:
        run_dispatch.announce(conn, queue)


def _known(queue: str) -> None:
    if queue not in QUEUES:
        raise NotFound(f"there is no queue {queue}; there are {', '.join(QUEUES)}")
