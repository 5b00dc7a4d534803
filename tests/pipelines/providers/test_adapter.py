"""Calls to providers over real HTTP: what is sent, what comes back, and every way in which it goes wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from pipelines.providers import adapter
from pipelines.providers.calls import Completion, Endpoint, Message, ProviderFailure, Reason
from pipelines.providers.litellm_errors import failure_of, retry_after
from tests.fixtures import provider as behave
from tests.fixtures.provider import Behaviour, Provider, Route

SECRET = "the patient takes lithium"


@pytest.fixture
def endpoint(provider: Provider) -> Endpoint:
    return Endpoint(model="openai/gpt-4o-mini", api_key="k-1", api_base=provider.url, timeout_seconds=10)


@pytest.fixture
def ranker(endpoint: Endpoint) -> Endpoint:
    return msgspec.structs.replace(endpoint, model="hosted_vllm/ranker")


def question(endpoint: Endpoint, **options: object) -> Completion:
    return Completion(endpoint=endpoint, messages=[Message("user", SECRET)], **options)  # type: ignore[arg-type]


def test_a_completion_brings_its_text_and_what_it_cost(provider: Provider, endpoint: Endpoint) -> None:
    provider.reply = lambda asked: "three words long"
    answer = adapter.complete(question(endpoint, temperature=0.0, max_tokens=50))
    assert answer.text == "three words long"
    assert not answer.cut_off
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 3)
    assert answer.usage.cost_usd == pytest.approx(4 * 0.15e-6 + 3 * 0.60e-6)
    assert (answer.usage.provider, answer.usage.model) == ("openai", "openai/gpt-4o-mini")
    [asked] = provider.calls()
    assert (asked.body["temperature"], asked.body["max_tokens"]) == (0.0, 50)
    assert asked.headers["authorization"] == "Bearer k-1"


def test_a_model_without_a_price_costs_an_unknown_amount_and_not_nothing(endpoint: Endpoint) -> None:
    answer = adapter.complete(question(msgspec.structs.replace(endpoint, model="openai/our-own")))
    assert answer.usage.cost_usd is None
    assert answer.usage.input_tokens > 0


def test_a_schema_is_sent_and_an_answer_that_was_cut_says_so(provider: Provider, endpoint: Endpoint) -> None:
    provider.then(behave.says('{"memories": [', finish_reason="length"))
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    answer = adapter.complete(question(endpoint, json_schema=schema, json_schema_name="memories"))
    assert answer.cut_off
    sent = provider.calls()[0].body["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"name": "memories", "schema": schema, "strict": True}}


def test_embeddings_come_in_the_order_of_the_texts(provider: Provider, endpoint: Endpoint) -> None:
    embedded = adapter.embed(endpoint, ["red apple", "blue sky", "red apple"])
    assert embedded.vectors.shape == (3, 32)
    assert embedded.vectors.dtype == np.float32
    assert np.array_equal(embedded.vectors[0], embedded.vectors[2])
    assert not np.array_equal(embedded.vectors[0], embedded.vectors[1])
    assert embedded.usage.input_tokens == 6


def test_a_width_may_be_asked_for_of_models_nobody_has_heard_of(provider: Provider, endpoint: Endpoint) -> None:
    unknown = msgspec.structs.replace(endpoint, model="openai/our-own")
    assert adapter.embed(unknown, ["a"], dimensions=16).vectors.shape == (1, 16)
    assert provider.calls("embeddings")[0].body["dimensions"] == 16


def test_documents_are_ranked_best_first(ranker: Endpoint) -> None:
    ranking = adapter.rerank(ranker, "red apple", ["a blue sky", "a red apple", "a red sky"])
    assert [ranked.index for ranked in ranking.results] == [1, 2, 0]
    assert ranking.usage.input_tokens > 0


EVERY_ROUTE: list[tuple[str, Behaviour, Reason, int | None]] = [
    ("429", behave.rate_limited("7"), "rate_limited", 429),
    ("500", behave.fails(500), "unavailable", 500),
    ("503", behave.fails(503), "unavailable", 503),
    ("529", behave.fails(529), "unavailable", 529),
    ("401", behave.fails(401), "authentication", 401),
    ("403", behave.fails(403), "authentication", 403),
    ("402", behave.fails(402), "out_of_credit", 402),
    ("404", behave.fails(404), "not_found", 404),
    ("422", behave.fails(422), "refused", 422),
]

#: LiteLLM does not always tell a broken connection from a broken answer. Both pass.
BROKEN: list[tuple[str, Route, Behaviour]] = [
    *(
        (f"{behaviour.__name__} {route}", route, behaviour)
        for route in ("chat", "embeddings", "rerank")
        for behaviour in (behave.cut_off, behave.invalid_json, behave.not_json, behave.empty, behave.wrong_schema)
    ),
    ("no choices", "chat", behave.no_choices),
    ("too few vectors", "embeddings", behave.too_few_vectors),
    ("not a number", "embeddings", behave.not_a_number),
]


@pytest.fixture
def call(endpoint: Endpoint, ranker: Endpoint) -> Callable[[Route], object]:
    calls: dict[Route, Callable[[], object]] = {
        "chat": lambda: adapter.complete(question(endpoint)),
        "embeddings": lambda: adapter.embed(endpoint, [SECRET, "b"]),
        "rerank": lambda: adapter.rerank(ranker, SECRET, ["a", SECRET]),
    }
    return lambda route: calls[route]()


@pytest.mark.parametrize("route", ["chat", "embeddings", "rerank"])
@pytest.mark.parametrize(("name", "behaviour", "reason", "status"), EVERY_ROUTE, ids=[e[0] for e in EVERY_ROUTE])
def test_an_error_is_told_by_its_reason_after_one_request(
    provider: Provider,
    call: Callable[[Route], object],
    route: Route,
    name: str,
    behaviour: Behaviour,
    reason: Reason,
    status: int,
) -> None:
    provider.then(behaviour, route=route)
    with pytest.raises(ProviderFailure) as caught:
        call(route)
    assert (caught.value.reason, caught.value.status) == (reason, status)
    assert caught.value.transient == (status in (429, 500, 503, 529))
    assert caught.value.retry_after == (7.0 if status == 429 else None)
    assert len(provider.asked) == 1, "retries are the run's affair"


@pytest.mark.parametrize(("name", "route", "behaviour"), BROKEN, ids=[b[0] for b in BROKEN])
def test_an_answer_that_is_none_is_a_failure_that_passes(
    provider: Provider, call: Callable[[Route], object], name: str, route: Route, behaviour: Behaviour
) -> None:
    provider.then(behaviour, route=route)
    with pytest.raises(ProviderFailure) as caught:
        call(route)
    assert caught.value.reason in ("bad_response", "unreachable")
    assert caught.value.transient
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("context_length_exceeded", "context_window"),
        ("content_policy_violation", "content_policy"),
        ("insufficient_quota", "out_of_credit"),
    ],
)
def test_a_providers_code_says_more_than_its_status(
    provider: Provider, endpoint: Endpoint, code: str, reason: Reason
) -> None:
    provider.then(behave.fails(429 if code == "insufficient_quota" else 400, code=code))
    with pytest.raises(ProviderFailure) as caught:
        adapter.complete(question(endpoint))
    assert caught.value.reason == reason
    assert not caught.value.transient


def test_a_slow_answer_is_not_waited_for(provider: Provider, endpoint: Endpoint) -> None:
    provider.then(behave.hang)
    with pytest.raises(ProviderFailure) as caught:
        adapter.complete(question(msgspec.structs.replace(endpoint, timeout_seconds=0.2)))
    assert (caught.value.reason, caught.value.transient) == ("timeout", True)


def test_nobody_at_the_address_is_a_failure_that_passes(endpoint: Endpoint) -> None:
    with pytest.raises(ProviderFailure) as caught:
        adapter.complete(question(msgspec.structs.replace(endpoint, api_base="http://127.0.0.1:9/v1")))
    assert (caught.value.reason, caught.value.status) == ("unreachable", None)


def test_what_was_sent_and_answered_is_in_no_log_and_no_error(
    provider: Provider,
    endpoint: Endpoint,
    ranker: Endpoint,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.always(behave.fails(400, message=f"cannot say {SECRET}"))
    provider.always(behave.fails(400, message=f"cannot rank {SECRET}"), route="rerank")
    errors = []
    for call in (lambda: adapter.complete(question(endpoint)), lambda: adapter.rerank(ranker, SECRET, [SECRET])):
        with pytest.raises(ProviderFailure) as caught:
            call()
        errors += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
        assert caught.value.__suppress_context__
    written = caplog.text + "".join(capfd.readouterr()) + "".join(errors)
    assert SECRET not in written
    assert "k-1" not in written


def test_an_endpoint_does_not_show_its_key(endpoint: Endpoint) -> None:
    assert "k-1" not in f"{endpoint!r} {question(endpoint)!r}"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "99999999"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=100.0) == seconds


def test_anything_that_is_raised_becomes_a_failure() -> None:
    assert failure_of(RuntimeError(SECRET), "m").reason == "bad_response"
    assert SECRET not in str(failure_of(RuntimeError(SECRET), "m"))


def test_latency_is_measured(provider: Provider, endpoint: Endpoint) -> None:
    provider.delay = 0.05
    began = time.monotonic()
    answer = adapter.complete(question(endpoint))
    assert 50 <= answer.usage.latency_ms <= (time.monotonic() - began) * 1000 + 1
