"""What probes and metrics ask of the database."""

from __future__ import annotations

from storage.transactions import Connection


def longest_waits(conn: Connection) -> dict[str, float]:
    """Seconds for which the longest-waiting due run of each queue has waited for a worker. Paused queues are left out.

    Index: runs_next.
    """
    rows = conn.execute(
        "select queue, extract(epoch from now() - min(greatest(run_after, ready_at)))::float8 from runs"
        " where state in ('pending', 'running') and run_after <= now() and (lease_until is null or lease_until < now())"
        " and queue not in (select queue from queue_pauses)"
        " group by queue"
    ).fetchall()
    return dict(rows)


def longest_running(conn: Connection) -> float | None:
    """Seconds since the oldest claim that still holds; None when no run is worked on."""
    row = conn.execute(
        "select extract(epoch from now() - min(claimed_at))::float8 from runs"
        " where state = 'running' and lease_until > now()"
    ).fetchone()
    return row[0] if row else None


def paused_queues(conn: Connection) -> list[str]:
    """Queues that an operator has paused."""
    return [queue for (queue,) in conn.execute("select queue from queue_pauses order by 1").fetchall()]


def connections_by_state(conn: Connection) -> dict[str, int]:
    """How many connections our processes have to this database, by what they do."""
    rows = conn.execute(
        "select coalesce(state, 'unknown'), count(*) from pg_stat_activity"
        " where application_name = 'statewave' and datname = current_database() group by 1"
    ).fetchall()
    return dict(rows)
