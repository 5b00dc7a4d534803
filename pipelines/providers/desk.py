"""Asking a provider from a process that must not import LiteLLM: a call is handed in on Redis, and answered there.

Workers that serve the queue `llm` take calls from the desk (`actors.provider_desk`). What somebody waits for goes
before what is done in the background. Calls hold content: they stay on Redis only until they are taken, and answers
until they are fetched or a minute has passed.

Keys: `statewave:desk:interactive` and `statewave:desk:background` calls waiting, `statewave:desk:answer:ID` the answer
to one, `statewave:desk:open` set while anybody takes calls.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, cast

import msgspec

from config.deferred import np, redis
from config.ids import uuid7
from pipelines.providers.account import paying
from pipelines.providers.breaker import Breaker
from pipelines.providers.calls import (
    Completion,
    CompletionResult,
    Embeddings,
    Endpoint,
    ProviderFailure,
    Ranking,
    Reason,
    Usage,
    unanswered,
)
from storage.provider_usage import Kind

INTERACTIVE = "statewave:desk:interactive"
BACKGROUND = "statewave:desk:background"
ANSWER = "statewave:desk:answer:"
OPEN = "statewave:desk:open"

#: Seconds that an answer waits to be fetched.
ANSWER_SECONDS = 60

#: Calls that may wait; more would only time out.
MOST_WAITING = 1000

Urgency = Literal["interactive", "background"]
T = TypeVar("T")


class EmbedCall(msgspec.Struct, frozen=True, kw_only=True, tag="embed"):
    """Texts to embed."""

    endpoint: Endpoint
    texts: list[str]
    dimensions: int | None


class CompleteCall(msgspec.Struct, frozen=True, kw_only=True, tag="complete"):
    """A question to a chat model."""

    completion: Completion


class RerankCall(msgspec.Struct, frozen=True, kw_only=True, tag="rerank"):
    """Documents to rank for a query."""

    endpoint: Endpoint
    query: str
    documents: list[str]


class HandedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it waits. After `until` (seconds since 1970) nobody wants the answer any more."""

    id: str
    until: float
    call: EmbedCall | CompleteCall | RerankCall


class Vectors(msgspec.Struct, frozen=True, kw_only=True, tag="embed"):
    """The answer to an `EmbedCall`: rows of little-endian float32."""

    dimensions: int
    data: bytes
    usage: Usage


class Completed(msgspec.Struct, frozen=True, kw_only=True, tag="complete"):
    """The answer to a `CompleteCall`."""

    result: CompletionResult


class Reranked(msgspec.Struct, frozen=True, kw_only=True, tag="rerank"):
    """The answer to a `RerankCall`."""

    ranking: Ranking


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """A `ProviderFailure`."""

    reason: Reason
    model: str
    status: int | None
    retry_after: float | None
    code: str | None


Answer = Vectors | Completed | Reranked | Failed

_encode = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_call = msgspec.msgpack.Decoder(HandedIn).decode
encode_answer = _encode


class ProviderDesk:
    """Hands in calls and waits for their answers. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        #: Shared with the compiler's models: what one process finds out spares the others.
        self.breaker = Breaker(client)

    def embed(
        self,
        endpoint: Endpoint,
        texts: Sequence[str],
        *,
        dimensions: int | None,
        timeout_seconds: float,
        urgency: Urgency = "background",
    ) -> Embeddings:
        """Embed texts in one call of the provider.

        Raises:
            ProviderFailure: when there is no answer in time.
        """
        call = EmbedCall(endpoint=endpoint, texts=list(texts), dimensions=dimensions)
        answer = self._charged(call, endpoint, "embedding", Vectors, timeout_seconds, urgency)
        vectors = np.frombuffer(answer.data, dtype="<f4").reshape(-1, answer.dimensions)
        return Embeddings(vectors=vectors, usage=answer.usage)

    def complete(self, completion: Completion, *, timeout_seconds: float) -> CompletionResult:
        """Ask a chat model.

        Raises:
            ProviderFailure: when there is no answer in time.
        """
        call = CompleteCall(completion=completion)
        endpoint = completion.endpoint
        return self._charged(call, endpoint, "completion", Completed, timeout_seconds, "interactive").result

    def rerank(self, endpoint: Endpoint, query: str, documents: Sequence[str], *, timeout_seconds: float) -> Ranking:
        """Rank documents for a query.

        Raises:
            ProviderFailure: when there is no answer in time.
        """
        call = RerankCall(endpoint=endpoint, query=query, documents=list(documents))
        return self._charged(call, endpoint, "rerank", Reranked, timeout_seconds, "interactive").ranking

    def _charged(
        self, call: Any, endpoint: Endpoint, kind: Kind, expected: type[T], timeout_seconds: float, urgency: Urgency
    ) -> T:
        """Ask, within the budget of who pays, sparing a provider that keeps failing, and keep what it cost."""
        account = paying()
        if account is not None:
            account.check()
        wait = self.breaker.wait_seconds(endpoint, trial_seconds=timeout_seconds)
        if wait > 0:
            raise ProviderFailure("circuit_open", model=endpoint.model, retry_after=wait)
        self._look_open(endpoint.model, urgency)
        began = time.monotonic()
        try:
            answer = self._ask(call, expected, endpoint.model, timeout_seconds, urgency)
        except ProviderFailure as ex:
            self.breaker.failed(endpoint, ex)
            if account is not None:
                account.record(kind, unanswered(endpoint.model, time.monotonic() - began), outcome=ex.reason)
            raise
        self.breaker.succeeded(endpoint)
        if account is not None:
            account.record(kind, _usage_of(answer), outcome="ok")
        return answer

    def _look_open(self, model: str, urgency: Urgency) -> None:
        """Do not keep the caller until its time is over when nobody would take the call."""
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.exists(OPEN)
            pipeline.llen(_queue_of(urgency))
            is_open, waiting = pipeline.execute()
        except redis.RedisError:
            raise ProviderFailure("unreachable", model=model, code="no_broker") from None
        if not is_open:
            raise ProviderFailure("unreachable", model=model, code="no_worker_for_llm")
        if waiting >= MOST_WAITING:
            raise ProviderFailure("busy", model=model)

    def _ask(self, call: Any, expected: type[T], model: str, timeout_seconds: float, urgency: Urgency) -> T:
        handed_in = HandedIn(id=str(uuid7()), until=time.time() + timeout_seconds, call=call)
        raw: Any
        try:
            self._client.lpush(_queue_of(urgency), _encode(handed_in))
            raw = self._fetch(ANSWER + handed_in.id, timeout_seconds)
        except redis.RedisError:
            raise ProviderFailure("unreachable", model=model, code="no_broker") from None
        if raw is None:
            raise ProviderFailure("timeout", model=model)
        answer = _decode_answer(raw)
        if isinstance(answer, Failed):
            raise ProviderFailure(
                answer.reason,
                model=answer.model,
                status=answer.status,
                retry_after=answer.retry_after,
                code=answer.code,
            )
        if not isinstance(answer, expected):
            raise ProviderFailure("bad_response", model=model)
        return answer

    def _fetch(self, key: str, timeout_seconds: float) -> bytes | None:
        """Wait in steps that are shorter than the client's own patience with its socket."""
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            found = self._client.brpop([key], timeout=max(0.01, min(left, 2.0)))
            if found is not None:
                return cast(tuple[bytes, bytes], found)[1]
        return None


def _queue_of(urgency: Urgency) -> str:
    return INTERACTIVE if urgency == "interactive" else BACKGROUND


def _usage_of(answer: Any) -> Usage:
    if isinstance(answer, Vectors):
        return answer.usage
    if isinstance(answer, Completed):
        return answer.result.usage
    usage: Usage = answer.ranking.usage
    return usage
