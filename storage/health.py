"""What the readiness probe asks of the database."""

from __future__ import annotations

from storage.transactions import Connection


def longest_wait_seconds(conn: Connection) -> float | None:
    """For how long the longest-waiting due run has waited for a worker; None when none waits. Index: runs_due."""
    row = conn.execute(
        "select extract(epoch from now() - min(run_after))::float8 from runs"
        " where state in ('pending', 'running') and run_after <= now() and (lease_until is null or lease_until < now())"
    ).fetchone()
    return row[0] if row else None
