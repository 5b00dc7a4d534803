"""The vector of a query is made once, by one of those who need it, and its failure costs words nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipelines.providers.calls import ProviderFailure
from pipelines.query_vectors import COOL_DOWN_SECONDS, MOST_REMEMBERED, REMEMBERED_SECONDS, QueryVectors, Vector


class Model:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self) -> Vector:
        self.asked += 1
        self.may_answer.wait(30)
        if self.fails:
            raise ProviderFailure("unavailable", model="m")
        return np.array([0.6, 0.8], dtype=np.float32)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_asks_once(redis_client: redis.Redis) -> None:
    vectors, model = QueryVectors(redis_client), Model()
    for _ in range(3):
        found = vectors.of("m", "hello", model, is_shared=True)
        assert found is not None and found.tolist() == [np.float32(0.6), np.float32(0.8)]
    assert model.asked == 1
    vectors.of("other", "hello", model, is_shared=True)
    vectors.of("m", "hello?", model, is_shared=True)
    assert model.asked == 3


def test_other_processes_find_it_on_redis_without_the_text(redis_client: redis.Redis) -> None:
    model = Model()
    QueryVectors(redis_client).of("m", "a secret question", model, is_shared=True)
    found = QueryVectors(redis_client).of("m", "a secret question", model, is_shared=True)
    assert found is not None and model.asked == 1
    stored = [(key, redis_client.get(key)) for key in redis_client.keys("*")]  # type: ignore[union-attr]
    assert stored and not any(b"secret" in part for pair in stored for part in pair)  # type: ignore[operator]


def test_the_bundled_model_does_not_use_redis(redis_client: redis.Redis) -> None:
    QueryVectors(redis_client).of("m", "hello", Model(), is_shared=False)
    assert redis_client.dbsize() == 0


def test_of_those_who_ask_at_the_same_time_one_asks_the_model(redis_client: redis.Redis) -> None:
    vectors, model = QueryVectors(redis_client), Model()
    model.may_answer.clear()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(vectors.of, "m", "hello", model, is_shared=True) for _ in range(8)]
        model.may_answer.set()
        assert all(future.result() is not None for future in asked)
    assert model.asked == 1


def test_a_failure_is_not_repeated_at_once_and_not_remembered() -> None:
    clock, model = Clock(), Model()
    vectors = QueryVectors(None, clock=clock)
    model.fails = True
    assert vectors.of("m", "hello", model, is_shared=True) is None
    assert vectors.of("m", "another", model, is_shared=True) is None
    assert model.asked == 1
    model.fails = False
    clock.now = COOL_DOWN_SECONDS + 1
    assert vectors.of("m", "hello", model, is_shared=True) is not None


def test_without_redis_the_process_remembers_for_itself(redis_client: redis.Redis) -> None:
    gone = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    vectors, model = QueryVectors(gone), Model()
    for _ in range(2):
        assert vectors.of("m", "hello", model, is_shared=True) is not None
    assert model.asked == 1


def test_little_is_remembered_and_not_for_ever() -> None:
    clock, model = Clock(), Model()
    vectors = QueryVectors(None, clock=clock)
    for number in range(MOST_REMEMBERED + 1):
        vectors.of("m", f"question {number}", model, is_shared=False)
    asked = model.asked
    vectors.of("m", f"question {MOST_REMEMBERED}", model, is_shared=False)
    assert model.asked == asked
    vectors.of("m", "question 0", model, is_shared=False)
    assert model.asked == asked + 1
    clock.now = REMEMBERED_SECONDS + 1
    vectors.of("m", "question 0", model, is_shared=False)
    assert model.asked == asked + 2
