"""When to try again. Exponential backoff with full jitter.

Full jitter draws uniformly from zero to the exponential ceiling, which spreads a crowd of retries best (Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon work of one kind is tried again."""

    attempts: int
    base_seconds: float
    cap_seconds: float

    def ceiling(self, attempt: int) -> float:
        """Longest delay, in seconds, after so many attempts (1 is the first)."""
        return float(min(self.cap_seconds, self.base_seconds * 2 ** min(attempt - 1, 32)))

    def delay(self, attempt: int) -> timedelta:
        """A delay drawn for the next attempt."""
        return timedelta(seconds=random.uniform(0, self.ceiling(attempt)))

    def exhausted(self, attempt: int) -> bool:
        """Whether so many attempts were all."""
        return attempt >= self.attempts


#: About an hour of trying: long enough for a database failover, short enough to be noticed the same day.
COMPILE = RetryPolicy(attempts=10, base_seconds=1.0, cap_seconds=600.0)

#: A check that failed for an hour is made up for by the next change or sweep.
HEALTH = RetryPolicy(attempts=8, base_seconds=1.0, cap_seconds=300.0)

#: Fifteen hours of trying at most, seven on average: a receiver that is down overnight misses nothing. While its
#: breaker is open no attempt is used up, so a delivery may wait longer (`pipelines.webhook_delivery.MOST_TRYING`).
WEBHOOK = RetryPolicy(attempts=12, base_seconds=30.0, cap_seconds=21_600.0)
#: Housekeeping comes again by itself.
MAINTENANCE = RetryPolicy(attempts=5, base_seconds=1.0, cap_seconds=60.0)

#: Two days of trying: a provider's outage must not end a change of the embedding model. Progress begins it anew.
EMBEDDING = RetryPolicy(attempts=300, base_seconds=1.0, cap_seconds=600.0)

_BY_KIND = {
    "embed_subject": EMBEDDING,
    "embedding_change": EMBEDDING,
    "erasure_proof": MAINTENANCE,
    "health": HEALTH,
    "maintenance": MAINTENANCE,
    "webhook": WEBHOOK,
}


def policy_of(kind: str) -> RetryPolicy:
    """The budget of a kind of run."""
    return _BY_KIND.get(kind, COMPILE)
