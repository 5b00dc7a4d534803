"""Episodes that cannot be compiled: found, set aside as dead letters of their own, compiled when an operator says so.

A rule that raises is caught for its episode alone (`pipelines.drafting`). What fails or dies later, or takes the
whole process with it, is found by compiling the batch one episode at a time (`isolate`). Either way the subject's
watermark passes the episode, so that nothing behind it waits.

    batch fails or crashes ──▶ one by one ──▶ the one that fails again, or crashes three times, is set aside
"""

from __future__ import annotations

from config.ids import uuid7
from pipelines import compile_runs
from pipelines.compile_runs import COMPILE, ISOLATE
from pipelines.drafting import FailedEpisode
from pipelines.services import Services
from storage import new_runs, runs, subjects
from storage.episodes import uncompiled_episodes
from storage.rows import Run
from storage.transactions import Connection, tenant_transaction

#: Kind of the run that compiles one episode which was set aside.
KIND = "compile_episode"


def is_isolating(run: Run) -> bool:
    """Whether the run compiles one episode at a time, to find the one at fault."""
    return bool(run.params.get(ISOLATE))


def isolate(conn: Connection, run: Run, *, batch_size: int, error: str | None) -> bool:
    """Begin the batch again one episode at a time. False when the run was lost."""
    progress = subjects.progress(conn, run.tenant_id, run.subject_id or "")
    episodes = max(1, min(batch_size, progress.uncompiled if progress else 0))
    return runs.begin_again(conn, run, stage=COMPILE, params={ISOLATE: episodes}, crashes=run.crashes, error=error)


def keep_dead_letter(conn: Connection, run: Run, episode: FailedEpisode, *, quarantined: bool = False) -> None:
    """Make the episode a dead letter of its own, which an operator can see and retry."""
    new_runs.add(
        conn,
        run_id=uuid7(),
        tenant_id=run.tenant_id,
        subject_id=run.subject_id,
        kind=KIND,
        queue=run.queue,
        stage=COMPILE,
        # The key of the subject's compile runs: a retry takes its turn among them.
        unique_key=f"compile:{run.subject_id}",
        params={"episode_id": str(episode.id), "seq": episode.seq, "found_by": str(run.id)},
        request_id=run.request_id,
        dead=episode.error,
        quarantined=quarantined,
    )


def set_aside(services: Services, run: Run, error: str, *, quarantined: bool) -> Run | None:
    """Pass the episode that an isolating run is at, and go on with the next; None when the run was lost."""
    subject_id, most = run.subject_id or "", services.settings.compile_max_iterations
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        progress = subjects.progress(conn, run.tenant_id, subject_id, lock=True)
        if not runs.hold(conn, run):
            return None
        if progress is None:
            return compile_runs.go_on(conn, run, created=0, remaining=0, most_batches=most)
        waiting = uncompiled_episodes(conn, run.tenant_id, subject_id, after_seq=progress.compiled_seq, limit=1)
        for episode in waiting:
            failed = FailedEpisode(id=episode.id, seq=episode.seq, error=error)
            keep_dead_letter(conn, run, failed, quarantined=quarantined)
            subjects.record_publication(
                conn,
                run.tenant_id,
                subject_id,
                compiled_seq=episode.seq,
                episodes=1,
                memories=0,
                passages=0,
                speakers=[],
            )
        return compile_runs.go_on(conn, run, created=0, remaining=progress.uncompiled - len(waiting), most_batches=most)
