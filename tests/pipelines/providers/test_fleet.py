"""Models are asked in their order, within the fleet's slots, and those that fail are spared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings import Settings
from pipelines.providers.breaker import FAILURES, Breaker
from pipelines.providers.calls import Completion, Endpoint, Message, ProviderFailure
from pipelines.providers.fleet import ModelFleet, OnBehalfOf, endpoints_of
from pipelines.providers.slots import NoSlot, Slots
from storage.transactions import Pool, operator_transaction
from tests.fixtures import provider as behave
from tests.fixtures.provider import Answer, Asked, Provider

ACME = OnBehalfOf(tenant_id="acme")
ASKED = Completion(endpoint=Endpoint(model=""), messages=[Message("user", "hi")])


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def fleet(
    shared_pool: Pool, client: redis.Redis, provider: Provider, second_provider: Provider
) -> Callable[[], ModelFleet]:
    """Fleets of several processes: each knows the same two models, and shares nothing but Redis."""
    provider.reply = lambda asked: "from the first"
    second_provider.reply = lambda asked: "from the second"
    settings = Settings(
        llm_models=(f"openai/one@{provider.url}", f"openai/two@{second_provider.url}"),
        litellm_api_key="k",
        litellm_timeout_seconds=10,
    )
    return lambda: ModelFleet(settings, shared_pool, client)


def away() -> redis.Redis:
    """A Redis that does not answer, asked once."""
    return redis.Redis(host="127.0.0.1", port=9, retry=Retry(NoBackoff(), 0))


def test_the_first_model_is_asked_while_it_answers(fleet: Callable[[], ModelFleet], second_provider: Provider) -> None:
    assert fleet().complete(ASKED, ACME).text == "from the first"
    assert second_provider.asked == []


@pytest.mark.parametrize("trouble", [behave.fails(500), behave.fails(401), behave.rate_limited(), behave.cut_off])
def test_the_next_model_answers_when_one_fails(
    fleet: Callable[[], ModelFleet], provider: Provider, trouble: behave.Behaviour
) -> None:
    provider.then(trouble)
    answer = fleet().complete(ASKED, ACME)
    assert (answer.text, answer.usage.model) == ("from the second", "openai/two")


def test_what_one_process_found_out_spares_the_others(fleet: Callable[[], ModelFleet], provider: Provider) -> None:
    provider.always(behave.fails(500))
    for _ in range(FAILURES):
        fleet().complete(ASKED, ACME)
    assert fleet().complete(ASKED, ACME).text == "from the second"
    assert len(provider.asked) == FAILURES


def test_a_call_that_fails_is_recorded_with_the_time_it_took(
    fleet: Callable[[], ModelFleet], provider: Provider, shared_pool: Pool
) -> None:
    def fail_late(provider: Provider, asked: Asked) -> Answer:
        time.sleep(0.05)
        failed = behave.fails(500)(provider, asked)
        assert failed is not None
        return failed

    provider.then(fail_late)
    on_behalf_of = OnBehalfOf(tenant_id="acme", subject_id="slow")
    assert fleet().complete(ASKED, on_behalf_of).text == "from the second"
    with operator_transaction(shared_pool) as conn:
        rows = conn.execute(
            "select outcome, latency_ms >= 50, input_tokens from provider_calls where subject_id = 'slow' order by at"
        ).fetchall()
    assert [row[0] for row in rows] == ["unavailable", "ok"]
    assert rows[0][1:] == (True, 0)


def test_a_pause_that_is_asked_for_is_kept_by_all(fleet: Callable[[], ModelFleet], provider: Provider) -> None:
    provider.then(behave.rate_limited("30"))
    fleet().complete(ASKED, ACME)
    fleet().complete(ASKED, ACME)
    assert len(provider.asked) == 1


def test_when_all_are_left_alone_nobody_is_asked_and_the_wait_is_told(
    fleet: Callable[[], ModelFleet], provider: Provider, second_provider: Provider
) -> None:
    provider.always(behave.rate_limited("20"))
    second_provider.always(behave.rate_limited("50"))
    with pytest.raises(ProviderFailure) as first:
        fleet().complete(ASKED, ACME)
    with pytest.raises(ProviderFailure) as second:
        fleet().complete(ASKED, ACME)
    assert (first.value.reason, first.value.retry_after) == ("rate_limited", 20.0)
    assert second.value.reason == "circuit_open"
    assert second.value.retry_after is not None and 0 < second.value.retry_after <= 20
    assert (len(provider.asked), len(second_provider.asked)) == (1, 1)


def test_of_several_failures_one_that_passes_is_told(
    fleet: Callable[[], ModelFleet], provider: Provider, second_provider: Provider
) -> None:
    provider.then(behave.fails(401))
    second_provider.then(behave.fails(503))
    with pytest.raises(ProviderFailure) as caught:
        fleet().complete(ASKED, ACME)
    assert (caught.value.reason, caught.value.transient) == ("unavailable", True)


def test_without_redis_calls_go_on(fleet: Callable[[], ModelFleet], shared_pool: Pool) -> None:
    models = tuple(f"{endpoint.model}@{endpoint.api_base}" for endpoint in fleet().endpoints)
    lonely = ModelFleet(Settings(llm_models=models, litellm_api_key="k"), shared_pool, away())
    assert lonely.complete(ASKED, ACME).text == "from the first"


def test_a_key_is_never_sent_to_another_vendor() -> None:
    settings = Settings(
        llm_models=(
            "gpt-4o-mini",
            "openai/local@http://127.0.0.1:1/v1",
            "anthropic/claude-3-haiku",
            "ollama/llama3@http://o:1",
        ),
        litellm_api_key="k-openai",
        litellm_api_base="https://proxy.example/v1",
    )
    endpoints = [(e.model, e.api_key, e.api_base) for e in endpoints_of(settings)]
    assert endpoints == [
        ("gpt-4o-mini", "k-openai", "https://proxy.example/v1"),
        ("openai/local", "k-openai", "http://127.0.0.1:1/v1"),
        ("anthropic/claude-3-haiku", None, None),
        ("ollama/llama3", None, "http://o:1"),
    ]


class TestBreaker:
    endpoint = Endpoint(model="m")
    failure = ProviderFailure("unavailable", model="m", status=500)

    def wait(self, client: redis.Redis) -> float:
        return Breaker(client).wait_seconds(self.endpoint, trial_seconds=10)

    def open(self, client: redis.Redis) -> None:
        for _ in range(FAILURES):
            Breaker(client).failed(self.endpoint, self.failure)

    def expire(self, client: redis.Redis) -> None:
        for name in client.keys("statewave:breaker:*:open"):
            client.delete(name)

    def test_it_opens_after_failures_in_a_row(self, client: redis.Redis) -> None:
        for _ in range(FAILURES - 1):
            Breaker(client).failed(self.endpoint, self.failure)
        assert self.wait(client) == 0
        Breaker(client).failed(self.endpoint, self.failure)
        assert 0 < self.wait(client) <= 30

    def test_a_success_between_them_begins_the_count_again(self, client: redis.Redis) -> None:
        for _ in range(FAILURES - 1):
            Breaker(client).failed(self.endpoint, self.failure)
        Breaker(client).succeeded(self.endpoint)
        Breaker(client).failed(self.endpoint, self.failure)
        assert self.wait(client) == 0

    def test_when_its_time_is_over_one_caller_tries_and_the_others_wait(self, client: redis.Redis) -> None:
        self.open(client)
        self.expire(client)
        assert self.wait(client) == 0
        assert self.wait(client) > 0
        Breaker(client).succeeded(self.endpoint)
        assert self.wait(client) == self.wait(client) == 0

    def test_a_trial_that_fails_opens_it_again_at_once(self, client: redis.Redis) -> None:
        self.open(client)
        self.expire(client)
        assert self.wait(client) == 0
        Breaker(client).failed(self.endpoint, self.failure)
        assert self.wait(client) > 0

    @pytest.mark.parametrize("reason", ["context_window", "content_policy", "refused", "unusable_answer"])
    def test_what_the_request_caused_does_not_count(self, client: redis.Redis, reason: object) -> None:
        for _ in range(FAILURES):
            Breaker(client).failed(self.endpoint, ProviderFailure(reason, model="m"))  # type: ignore[arg-type]
        assert self.wait(client) == 0

    def test_why_it_is_open_is_known(self, client: redis.Redis) -> None:
        assert Breaker(client).trouble(self.endpoint) is None
        self.open(client)
        assert Breaker(client).trouble(self.endpoint) == "unavailable"


class TestSlots:
    def test_processes_share_them(self, client: redis.Redis) -> None:
        ours, theirs = (Slots(client, "t", limit=2) for _ in range(2))
        with ours.slot(lease_seconds=60, wait_seconds=0), theirs.slot(lease_seconds=60, wait_seconds=0):
            assert ours.taken() == 2
            with pytest.raises(NoSlot), theirs.slot(lease_seconds=60, wait_seconds=0):
                pass
        assert ours.taken() == 0

    def test_who_waits_is_woken_by_who_leaves(self, client: redis.Redis) -> None:
        ours, theirs = (Slots(client, "t", limit=1) for _ in range(2))
        entered = threading.Event()

        def wait() -> None:
            with theirs.slot(lease_seconds=60, wait_seconds=30):
                entered.set()

        with ours.slot(lease_seconds=60, wait_seconds=0):
            waiter = threading.Thread(target=wait)
            waiter.start()
            assert not entered.is_set()
        assert entered.wait(20)
        waiter.join()

    def test_a_dead_workers_slot_is_free_when_its_lease_ends(self, client: redis.Redis) -> None:
        slots = Slots(client, "t", limit=1)
        client.zadd("statewave:slots:t", {"of a dead worker": 1})
        with slots.slot(lease_seconds=60, wait_seconds=0):
            assert slots.taken() == 1

    def test_never_more_than_the_limit_whatever_happens(self, client: redis.Redis) -> None:
        inside, most, lock = 0, 0, threading.Lock()
        slots = [Slots(client, "t", limit=3) for _ in range(4)]

        def enter(number: int) -> None:
            nonlocal inside, most
            for _ in range(10):
                with slots[number % 4].slot(lease_seconds=60, wait_seconds=60):
                    with lock:
                        inside, most = inside + 1, max(most, inside + 1)
                    with lock:
                        inside -= 1

        threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most <= 3

    def test_without_redis_each_process_counts_for_itself(self) -> None:
        slots = Slots(away(), "t", limit=1)
        with slots.slot(lease_seconds=60, wait_seconds=0), pytest.raises(NoSlot):  # noqa: SIM117
            with slots.slot(lease_seconds=60, wait_seconds=0):
                pass
