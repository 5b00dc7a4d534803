"""Redis may go away: every request is let through then, none of them waits long, and limits hold again afterwards."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from config.breaker import Breaker
from config.settings import Settings
from pipelines.rate_limits.buckets import Bucket, MemoryBuckets, Standing
from pipelines.rate_limits.limiter import LOG_SECONDS, PAUSE_SECONDS, RateLimiter, open_limiter
from pipelines.rate_limits.redis_buckets import RedisBuckets
from storage.embedded_redis import EmbeddedRedis

ONE = [Bucket("ip", "192.0.2.1", 1)]


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Fickle:
    """Buckets that raise while `failure` is set; they count who asked."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.asked = 0
        self._buckets = MemoryBuckets()

    def take(self, buckets: Sequence[Bucket], *, now: int | None = None) -> list[Standing]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self._buckets.take(buckets, now=now)


def test_a_redis_that_is_killed_lets_everybody_through_until_it_is_back(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    clock = Clock()
    limiter = RateLimiter(RedisBuckets(server.url, answer_seconds=30.0), clock=clock)
    try:
        first, second = limiter.take(ONE), limiter.take(ONE)
        assert first is not None and second is not None
        assert [first[0].is_refused, second[0].is_refused] == [False, True]
        assert server.child is not None
        server.child.kill()
        assert [limiter.take(ONE) for _ in range(20)] == [None] * 20
        server.start()
        assert limiter.take(ONE) is None
        clock.seconds += PAUSE_SECONDS
        with capture_logs() as logged:
            again, refused = limiter.take(ONE), limiter.take(ONE)
        assert again is not None and refused is not None
        assert refused[0].is_refused
        assert [event["event"] for event in logged] == ["rate limits hold again"]
    finally:
        server.stop()


@pytest.mark.parametrize(
    "failure",
    [
        redis.ConnectionError(),
        redis.TimeoutError(),
        redis.exceptions.ReadOnlyError(),
        redis.exceptions.BusyLoadingError(),
        redis.exceptions.OutOfMemoryError(),
    ],
)
def test_whatever_keeps_redis_from_answering_lets_requests_through(failure: Exception) -> None:
    fickle = Fickle()
    limiter = RateLimiter(fickle)
    fickle.failure = failure
    assert limiter.take(ONE) is None


def test_a_mistake_of_our_own_is_not_taken_for_an_outage() -> None:
    fickle = Fickle()
    fickle.failure = ValueError("a bug")
    with pytest.raises(ValueError):
        RateLimiter(fickle).take(ONE)


def test_a_dead_redis_is_asked_once_in_a_pause_and_logged_once_in_a_while() -> None:
    fickle, clock = Fickle(), Clock()
    limiter = RateLimiter(fickle, clock=clock)
    fickle.failure = redis.TimeoutError()
    with capture_logs() as logged:
        for _ in range(int(LOG_SECONDS / PAUSE_SECONDS)):
            for _ in range(50):
                assert limiter.take(ONE) is None
            clock.seconds += PAUSE_SECONDS
        assert fickle.asked == LOG_SECONDS / PAUSE_SECONDS
        assert len(logged) == 1
        limiter.take(ONE)
    assert len(logged) == 2
    assert "192.0.2.1" not in str(logged)


def test_a_redis_that_accepts_and_says_nothing_costs_one_request_its_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limiter = RateLimiter(RedisBuckets(f"redis://127.0.0.1:{silent.getsockname()[1]}", answer_seconds=0.1))
        assert [limiter.take(ONE) for _ in range(200)] == [None] * 200


def test_one_caller_tries_for_all_the_others() -> None:
    clock = Clock()
    breaker = Breaker(pause_seconds=2.0, clock=clock)
    assert breaker.lets_through()
    breaker.failed()
    assert not breaker.lets_through()
    clock.seconds += 2
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    assert breaker.succeeded() and not breaker.succeeded()
    assert breaker.lets_through()


@pytest.mark.parametrize(
    ("settings", "strategy"),
    [
        ({"redis_url": "redis://redis:6379"}, RedisBuckets),
        ({"redis_url": "redis://redis:6379", "rate_limit_strategy": "memory"}, MemoryBuckets),
        ({}, MemoryBuckets),
    ],
)
def test_the_strategy_is_shared_where_there_is_something_to_share(settings: Any, strategy: type) -> None:
    assert isinstance(open_limiter(Settings(**settings))._buckets, strategy)
