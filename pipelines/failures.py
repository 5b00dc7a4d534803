"""Kinds of failure: what another attempt may cure, and what it cannot."""

from __future__ import annotations

from config.deferred import redis
from config.errors import Conflict, Unavailable
from pipelines.providers.calls import ProviderFailure
from storage.transactions import DATABASE_AWAY

#: Characters of an error that are kept.
MOST_CHARS = 2000


#: Failures of a provider that the text it was given caused.
OF_EPISODE = frozenset({"content_policy", "context_window"})


class PermanentFailure(Exception):
    """Another attempt would fail the same way: the run becomes a dead letter at once."""


def is_transient(ex: BaseException) -> bool:
    """Whether the failure is one of the surroundings (a service away, a lock, a timeout) rather than of the work.

    Only work that fails by itself is looked into for the one episode at fault; a database that restarts is not a
    reason to.
    """
    if isinstance(ex, ProviderFailure):
        # A wrong key or an unknown model is no episode's fault either.
        return ex.reason not in OF_EPISODE
    # psycopg's timeouts of pool and statement, lost connections, deadlocks are all OperationalErrors.
    return isinstance(ex, (*DATABASE_AWAY, redis.RedisError, OSError, Conflict, Unavailable, ProviderFailure))


def describe(ex: BaseException) -> str:
    """The error as it is kept in a run's history."""
    return f"{type(ex).__name__}: {ex}".replace("\x00", "")[:MOST_CHARS]
