"""Sessions of our own processes at the database, as PostgreSQL sees them."""

from __future__ import annotations

from datetime import timedelta

from storage.transactions import Pool

_END_STALLED = """
select pg_terminate_backend(pid)
  from pg_stat_activity
 where datname = current_database() and usename = session_user and application_name = 'statewave'
   and pid <> pg_backend_pid()
   and state = 'active' and wait_event_type = 'Client' and state_change < now() - %s
"""


def end_stalled(pool: Pool, *, silent_for: timedelta) -> int:
    """End sessions whose process stopped in the middle of a message, and with them the locks they hold.

    PostgreSQL's timeouts do not reach such a session: it is not idle, because a statement has begun, and it cannot be
    cancelled while it waits for the rest of a message, or for somebody to take its answer. From outside, an answer that
    is taken row by row, or a COPY, looks the same: processes that do so for longer need a connection of another name.

    The one statement that is sent as the login role itself, which alone may end its sessions.

    Args:
        silent_for: how long a statement has to last to count. A process that is alive takes far less to say the
            rest, and the statement timeout is for those that it waits for.

    Returns:
        How many there were.
    """
    with pool.connection() as conn:
        return sum(ended for (ended,) in conn.execute(_END_STALLED, (silent_for,)).fetchall())
