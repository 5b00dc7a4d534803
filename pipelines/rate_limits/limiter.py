"""Applying limits, and going on without them while Redis is away (contract: core §2.4, fails open)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from config.breaker import Breaker
from config.deferred import redis
from config.settings import Settings
from pipelines.rate_limits.buckets import Bucket, Buckets, MemoryBuckets, Standing
from pipelines.rate_limits.redis_buckets import RedisBuckets

log = structlog.get_logger()

#: Seconds between two requests that find out whether Redis is back.
PAUSE_SECONDS = 2.0

#: Seconds between two lines of the log about the same outage.
LOG_SECONDS = 60.0


class RateLimiter:
    """Takes requests from buckets. Without an answer from the store every request is let through."""

    def __init__(self, buckets: Buckets, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = buckets
        self._clock = clock
        self._breaker = Breaker(pause_seconds=PAUSE_SECONDS, clock=clock)
        self._logging = threading.Lock()
        self._logged: float | None = None

    def take(self, buckets: Sequence[Bucket]) -> list[Standing] | None:
        """How the buckets stand after the request; None when nobody could tell."""
        if not self._breaker.lets_through():
            return None
        try:
            standings = self._buckets.take(buckets)
        except redis.RedisError as ex:
            self._breaker.failed()
            self._say_open(ex)
            return None
        if self._breaker.succeeded():
            log.info("rate limits hold again")
        return standings

    def _say_open(self, ex: redis.RedisError) -> None:
        with self._logging:
            now = self._clock()
            if self._logged is not None and now - self._logged < LOG_SECONDS:
                return
            self._logged = now
        log.warning("rate limits are not applied: Redis does not answer", reason=type(ex).__name__)


def open_limiter(settings: Settings) -> RateLimiter:
    """The limiter of this process. Without a Redis to share, each process counts for itself."""
    if settings.rate_limit_strategy == "memory" or settings.redis_url is None:
        return RateLimiter(MemoryBuckets())
    return RateLimiter(RedisBuckets(settings.redis_url))
