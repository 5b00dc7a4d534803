"""Both strategies decide as the rule says, exactly, and for all buckets of a request at once."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.rate_limits import buckets as rule
from pipelines.rate_limits.buckets import Bucket, Buckets, MemoryBuckets, interval
from pipelines.rate_limits.redis_buckets import PREFIX, RedisBuckets
from storage.embedded_redis import EmbeddedRedis

#: Microseconds since 1970 at which the simulated clocks start.
START = 1_773_480_000_000_000

#: Patient: what is tested here is not how soon Redis answers on a busy machine.
PATIENCE_SECONDS = 30.0

_numbers = count()


class NaiveBuckets:
    """Token buckets in exact fractions, worked out anew from the whole history for every question."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], list[int]] = defaultdict(list)

    def take(self, asked: Sequence[Bucket], now: int) -> bool:
        allowed = all(self._tokens(bucket, now) >= 1 for bucket in asked)
        if allowed:
            for bucket in asked:
                self._taken[bucket.kind, bucket.name].append(now)
        return allowed

    def remaining(self, bucket: Bucket, now: int) -> int:
        return int(self._tokens(bucket, now))

    def _tokens(self, bucket: Bucket, now: int) -> Fraction:
        step = Fraction(-(-60_000_000 // bucket.per_minute))
        tokens, last = Fraction(bucket.per_minute), START
        for at in [*self._taken[bucket.kind, bucket.name], now]:
            tokens = min(Fraction(bucket.per_minute), tokens + (at - last) / step) - 1
            last = at
        return tokens + 1


@pytest.fixture(scope="module")
def redis_buckets(redis_server: EmbeddedRedis) -> Iterator[RedisBuckets]:
    buckets = RedisBuckets(redis_server.url, answer_seconds=PATIENCE_SECONDS)
    yield buckets
    buckets.close()


@pytest.fixture(params=["memory", "redis"])
def buckets(request: pytest.FixtureRequest) -> Buckets:
    """Each strategy in turn."""
    return MemoryBuckets() if request.param == "memory" else request.getfixturevalue("redis_buckets")


def fresh(*limits: int) -> list[Bucket]:
    """Buckets that nobody has used, an address, a key and a tenant."""
    kinds: list[rule.Kind] = ["ip", "key", "tenant"]
    return [Bucket(kind, f"test-{next(_numbers)}", limit) for kind, limit in zip(kinds, limits, strict=False)]


#: Time that passes before a request, and which of three buckets it draws on.
requests = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 2_000_000), st.integers(0, 90_000_000)),
        st.sets(st.sampled_from([0, 1, 2]), min_size=1),
    ),
    max_size=60,
)
limits = st.one_of(st.integers(1, 8), st.integers(1, 1_000_000))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(per_minute=st.tuples(limits, limits, limits), sent=requests)
@example(per_minute=(1, 1, 1), sent=[(0, {0}), (59_999_999, {0}), (1, {0})])
@example(per_minute=(7, 3, 1_000_000), sent=[(0, {0, 1, 2})] * 8 + [(8_571_429, {0, 2}), (0, {0})])
def test_a_strategy_decides_as_a_naive_token_bucket_does(
    buckets: Buckets, per_minute: tuple[int, int, int], sent: list[tuple[int, set[int]]]
) -> None:
    own, naive, now = fresh(*per_minute), NaiveBuckets(), START
    for passed, drawn in sent:
        now += passed
        asked = [own[i] for i in sorted(drawn)]
        standings = buckets.take(asked, now=now)
        assert [standing.bucket for standing in standings] == asked
        assert (not any(standing.is_refused for standing in standings)) == naive.take(asked, now)
        assert [standing.remaining for standing in standings] == [naive.remaining(bucket, now) for bucket in asked]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 50), gaps=st.lists(st.integers(0, 3_000_000), max_size=40))
def test_who_waits_as_long_as_told_and_no_less_is_let_through(buckets: Buckets, limit: int, gaps: list[int]) -> None:
    bucket, now = fresh(limit), START
    for gap in gaps:
        now += gap
        (standing,) = buckets.take(bucket, now=now)
        if standing.is_refused:
            assert buckets.take(bucket, now=now + standing.wait - 1)[0].is_refused
            now += standing.wait
            assert not buckets.take(bucket, now=now)[0].is_refused
    (last,) = buckets.take(bucket, now=now)
    (full,) = buckets.take(bucket, now=now + last.full_in)
    assert full.remaining == limit - 1


def test_a_limit_is_what_may_come_at_once(buckets: Buckets) -> None:
    bucket = fresh(5)
    remaining = [buckets.take(bucket, now=START)[0].remaining for _ in range(5)]
    assert remaining == [4, 3, 2, 1, 0]
    (refused,) = buckets.take(bucket, now=START)
    assert (refused.wait, refused.full_in) == (12_000_000, 60_000_000)


def test_a_request_that_one_bucket_refuses_costs_the_others_nothing(buckets: Buckets) -> None:
    address, key = fresh(10, 1)
    buckets.take([key], now=START)
    for _ in range(20):
        standings = buckets.take([address, key], now=START)
        assert [standing.is_refused for standing in standings] == [False, True]
        assert standings[0].remaining == 10
    assert buckets.take([address], now=START)[0].remaining == 9


def test_a_clock_that_was_set_back_locks_nobody_out_for_longer_than_a_window(buckets: Buckets) -> None:
    bucket = fresh(2)
    buckets.take(bucket, now=START)
    (standing,) = buckets.take(bucket, now=START - 10**12)
    assert standing.wait == interval(2)


def test_a_limit_that_was_lowered_holds_at_once(buckets: Buckets) -> None:
    (bucket,) = fresh(100)
    for _ in range(50):
        buckets.take([bucket], now=START)
    (standing,) = buckets.take([Bucket(bucket.kind, bucket.name, 1)], now=START)
    assert standing.is_refused and standing.remaining == 0


def test_requests_at_the_same_moment_never_get_more_than_there_is(buckets: Buckets) -> None:
    own = fresh(60, 40, 50)
    allowed: list[bool] = []
    ready = threading.Barrier(6)

    def ask() -> None:
        ready.wait()
        for _ in range(20):
            allowed.append(not any(standing.is_refused for standing in buckets.take(own, now=START)))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(allowed), sum(allowed)) == (120, 40)
    remaining = [buckets.take([bucket], now=START)[0].remaining for bucket in own]
    assert remaining == [60 - 40 - 1, 0, 50 - 40 - 1]


def test_processes_share_what_is_in_redis(redis_server: EmbeddedRedis) -> None:
    one, two = (RedisBuckets(redis_server.url, answer_seconds=PATIENCE_SECONDS) for _ in range(2))
    bucket = fresh(2)
    assert [strategy.take(bucket)[0].remaining for strategy in (one, two)] == [1, 0]
    assert one.take(bucket)[0].is_refused
    one.close(), two.close()


def test_what_nobody_asks_for_any_more_leaves_redis_by_itself(
    redis_server: EmbeddedRedis, redis_buckets: RedisBuckets
) -> None:
    (bucket,) = fresh(10)
    redis_buckets.take([bucket])
    with redis.Redis.from_url(redis_server.url) as client:
        assert 60_000 < client.pttl(f"{PREFIX}:ip:{bucket.name}") <= 120_000


def test_a_redis_that_lost_its_scripts_gets_them_again(
    redis_server: EmbeddedRedis, redis_buckets: RedisBuckets
) -> None:
    bucket = fresh(10)
    redis_buckets.take(bucket)
    with redis.Redis.from_url(redis_server.url) as client:
        client.script_flush()
    assert redis_buckets.take(bucket)[0].remaining == 8


def test_memory_forgets_who_has_all_of_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "MOST_BUCKETS", 10)
    buckets = MemoryBuckets()
    for i in range(10_000):
        buckets.take([Bucket("ip", str(i), 60)], now=START + i * 1_000_000)
    assert len(buckets._arrivals) < 10
