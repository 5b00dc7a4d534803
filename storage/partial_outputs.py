"""Parts of a stage's work that are worth keeping before it is done, such as answers that were paid for.

They stand beside the outputs of stages and go with them: when the run begins its next batch, ends, or is erased.
"""

from __future__ import annotations

from storage.rows import Run
from storage.transactions import Connection

_KEEP = """
insert into stage_outputs (run_id, tenant_id, stage, output)
select id, tenant_id, %(name)s, %(output)b from runs
 where id = %(run)s and fence = %(fence)s and state = 'running'
on conflict (run_id, stage) do update set output = excluded.output
"""


def parts(conn: Connection, run: Run) -> dict[str, bytes]:
    """What the run's stage has kept so far, by name. Index: the primary key."""
    prefix = f"{run.stage}/"
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "select stage, output from stage_outputs where run_id = %s and starts_with(stage, %s)", (run.id, prefix)
        ).fetchall()
    return {stage.removeprefix(prefix): bytes(output) for stage, output in rows}


def keep_part(conn: Connection, run: Run, name: str, output: bytes) -> None:
    """Keep a part, unless the run was lost meanwhile."""
    conn.execute(_KEEP, {"run": run.id, "fence": run.fence, "name": f"{run.stage}/{name}", "output": output})
