"""The strategy `distributed`: all processes count together, in Redis, with one round trip for a request."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import cast

from config.deferred import redis
from pipelines.rate_limits.buckets import Bucket, Standing, interval

PREFIX = "statewave:rate-limit"

#: Seconds that a request waits for Redis at most. The breaker lets one request in a while find out, not every one.
ANSWER_SECONDS = 0.25


class RedisBuckets:
    """Buckets in Redis; the script `buckets.lua` says which keys there are. Safe to share between threads."""

    def __init__(self, url: str, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Nothing is connected before the first request."""
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            # A connection that died while it lay idle is replaced at once; who does not answer is not asked twice.
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._take = self._client.register_script((resources.files(__package__) / "buckets.lua").read_text())

    def take(self, buckets: Sequence[Bucket], *, now: int | None = None) -> list[Standing]:
        """See `Buckets.take`.

        Raises:
            redis.RedisError: when Redis does not answer, or cannot.
        """
        keys = [f"{PREFIX}:{bucket.kind}:{bucket.name}" for bucket in buckets]
        limits = [bucket.per_minute for bucket in buckets]
        answer = cast("list[int]", self._take(keys=keys, args=["" if now is None else now, *limits]))
        return [
            Standing(
                bucket=bucket,
                remaining=bucket.per_minute - -(-used // interval(bucket.per_minute)),
                full_in=used,
                wait=wait,
            )
            for bucket, used, wait in zip(buckets, answer[::2], answer[1::2], strict=True)
        ]

    def close(self) -> None:
        self._client.close()
