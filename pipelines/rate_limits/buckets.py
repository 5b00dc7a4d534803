"""The rule of rate limits: GCRA, and the strategy that keeps its state in this process.

The generic cell rate algorithm (ITU-T I.371, annex A: virtual scheduling) keeps one number per bucket, the
theoretical arrival time of the next request. A limit of N a minute lets N requests come at once and one every
60/N seconds on average, so at most N in an instant and, however they are spread, fewer than 2 N in any minute.
Time is in whole microseconds, so that both strategies decide alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

#: What is limited.
Kind = Literal["ip", "key", "tenant"]

MICROSECONDS = 1_000_000
WINDOW_SECONDS = 60

#: Buckets in memory at which those that are full again are forgotten.
MOST_BUCKETS = 100_000


class Bucket(msgspec.Struct, frozen=True):
    """Who may send how many requests a minute."""

    kind: Kind
    name: str
    per_minute: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a bucket stands after a request.

    `remaining` requests could follow at once; after `full_in` microseconds it would be all of them again. `wait` is 0
    when there was room for the request, else the microseconds until there will be.
    """

    bucket: Bucket
    remaining: int
    full_in: int
    wait: int

    @property
    def is_refused(self) -> bool:
        return self.wait > 0


class Buckets(Protocol):
    """A strategy: where the state of buckets is kept."""

    def take(self, buckets: Sequence[Bucket], *, now: int | None = None) -> list[Standing]:
        """Take a request from every bucket, or from none when one of them has no room. No two calls interleave.

        Args:
            now: microseconds since 1970; None asks the strategy's own clock.
        """


def interval(per_minute: int) -> int:
    """Microseconds in which room for one request comes back; rounded up, so that a limit is never exceeded."""
    return -(-WINDOW_SECONDS * MICROSECONDS // per_minute)


class MemoryBuckets:
    """The strategy `memory`: every process counts for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: (kind, name) to the theoretical arrival time.
        self._arrivals: dict[tuple[Kind, str], int] = {}
        self._forget_at = MOST_BUCKETS

    def take(self, buckets: Sequence[Bucket], *, now: int | None = None) -> list[Standing]:
        now = time.time_ns() // 1000 if now is None else now
        with self._lock:
            used = [self._used(bucket, now) for bucket in buckets]
            waits = [self._wait(bucket, taken) for bucket, taken in zip(buckets, used, strict=True)]
            if not any(waits):
                used = [taken + interval(bucket.per_minute) for bucket, taken in zip(buckets, used, strict=True)]
                for bucket, taken in zip(buckets, used, strict=True):
                    self._arrivals[bucket.kind, bucket.name] = now + taken
                self._forget(now)
        return [
            Standing(
                bucket=bucket,
                remaining=bucket.per_minute - -(-taken // interval(bucket.per_minute)),
                full_in=taken,
                wait=wait,
            )
            for bucket, taken, wait in zip(buckets, used, waits, strict=True)
        ]

    def _used(self, bucket: Bucket, now: int) -> int:
        """How far the arrival time is ahead of now. A clock that was set back must not lock anybody out for long."""
        ahead = self._arrivals.get((bucket.kind, bucket.name), 0) - now
        return min(max(ahead, 0), interval(bucket.per_minute) * bucket.per_minute)

    @staticmethod
    def _wait(bucket: Bucket, used: int) -> int:
        step = interval(bucket.per_minute)
        return max(used + step - step * bucket.per_minute, 0)

    def _forget(self, now: int) -> None:
        if len(self._arrivals) < self._forget_at:
            return
        self._arrivals = {key: at for key, at in self._arrivals.items() if at > now}
        self._forget_at = max(MOST_BUCKETS, 2 * len(self._arrivals))
