"""The one module that imports LiteLLM, and only when a call is made or `load` is called: that takes 4 s and 180 MB.

Nothing of LiteLLM gets out of here: arguments and answers are `pipelines.providers.calls`, every failure is a
`ProviderFailure`. LiteLLM's own retries, callbacks, telemetry and logs are off: runs retry, and its logs would hold
what was sent.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from config.deferred import np
from pipelines.providers.calls import (
    Completion,
    CompletionResult,
    Embeddings,
    Endpoint,
    ProviderFailure,
    Ranked,
    Ranking,
    Usage,
    provider_of,
)
from pipelines.providers.litellm_errors import failure_of

T = TypeVar("T")

#: Read by LiteLLM when it is imported. The price map is the one in its package, so that nothing is fetched; the
#: second one is the number of retries where an explicit 0 is taken for none given.
_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DEFAULT_MAX_RETRIES": "0", "LITELLM_MODE": "PRODUCTION"}

_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore")

_loading = threading.Lock()
_litellm: Any = None

#: Set where LiteLLM is to leave out what it does after a call: hand the answer to a thread that tells callbacks, of
#: which there are none, and works out the cost a second time. That is a fifth of what a call takes of the processor.
_is_internal: ContextVar[bool] | None = None


def is_installed() -> bool:
    """Whether LiteLLM is there, without loading it."""
    return importlib.util.find_spec("litellm") is not None


def load() -> None:
    """Import LiteLLM now. Processes that will call providers do it at their start, before they have threads.

    Raises:
        ProviderFailure: when it is not installed.
    """
    _load("litellm")


def complete(completion: Completion) -> CompletionResult:
    """Ask a chat model.

    Raises:
        ProviderFailure: when there is no answer.
    """
    endpoint = completion.endpoint
    options: dict[str, Any] = {
        "max_tokens": completion.max_tokens,
        "temperature": completion.temperature,
        "reasoning_effort": completion.reasoning_effort or None,
        "response_format": _response_format(completion),
    }
    messages = [{"role": message.role, "content": message.content} for message in completion.messages]

    def call(litellm: Any) -> Any:
        return litellm.completion(
            messages=messages,
            drop_params=True,
            **_common(endpoint),
            **{name: value for name, value in options.items() if value is not None},
        )

    def read(answer: Any, usage: Usage) -> CompletionResult:
        choice = answer.choices[0]
        text = choice.message.content or ""
        if not isinstance(text, str):
            raise TypeError
        return CompletionResult(text=text, cut_off=choice.finish_reason == "length", usage=usage)

    return _called(endpoint, call, read)


def embed(endpoint: Endpoint, texts: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
    """Embed texts in one call. The provider's limit on the size of a batch is the caller's affair.

    Args:
        dimensions: width to ask of models that can choose. What came is in the result, and for the caller to check.

    Raises:
        ProviderFailure: also when the answer has not one vector of finite numbers, all of one width, for each text.
    """
    options = {"dimensions": dimensions, "allowed_openai_params": ["dimensions"]} if dimensions else {}

    def call(litellm: Any) -> Any:
        return litellm.embedding(input=list(texts), **_common(endpoint), **options)

    def read(answer: Any, usage: Usage) -> Embeddings:
        rows = sorted(answer.data, key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or vectors.shape[1] == 0 or not np.isfinite(vectors).all():
            raise ValueError
        return Embeddings(vectors=vectors, usage=usage)

    return _called(endpoint, call, read)


def rerank(endpoint: Endpoint, query: str, documents: Sequence[str], *, top_n: int | None = None) -> Ranking:
    """Rank documents by how well they answer the query.

    Raises:
        ProviderFailure: also when the answer names a document that there is not, or one twice.
    """

    def call(litellm: Any) -> Any:
        return litellm.rerank(
            query=query,
            documents=list(documents),
            top_n=top_n or len(documents),
            return_documents=False,
            **_common(endpoint),
        )

    def read(answer: Any, usage: Usage) -> Ranking:
        results = [Ranked(int(row["index"]), float(row["relevance_score"])) for row in answer.results]
        named = {result.index for result in results}
        if len(named) != len(results) or not named <= set(range(len(documents))):
            raise ValueError
        return Ranking(results=sorted(results, key=lambda result: -result.score), usage=usage)

    return _called(endpoint, call, read)


def _load(model: str) -> Any:
    global _is_internal, _litellm
    with _loading:
        if _litellm is None:
            os.environ.update(_ENVIRONMENT)
            for name in _LOGGERS:
                logger = logging.getLogger(name)
                logger.addHandler(logging.NullHandler())
                logger.propagate = False
                logger.setLevel(logging.CRITICAL + 1)
            try:
                import litellm
            except ImportError:
                raise ProviderFailure("not_installed", model=model) from None
            litellm.suppress_debug_info = True
            litellm.telemetry = False
            litellm.turn_off_message_logging = True
            for name in _LOGGERS:
                logging.getLogger(name).handlers = [logging.NullHandler()]
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            with contextlib.suppress(ImportError):
                from litellm._internal_context import is_internal_call

                _is_internal = is_internal_call
            _litellm = litellm
    return _litellm


def _called(endpoint: Endpoint, call: Callable[[Any], Any], read: Callable[[Any, Usage], T]) -> T:
    """Make the call, and read the answer: what cannot be read is the provider's failure and not ours."""
    litellm = _load(endpoint.model)
    began = time.monotonic()
    token = None if _is_internal is None else _is_internal.set(True)
    try:
        answer = call(litellm)
    except Exception as ex:
        # What LiteLLM raises quotes what was sent and answered, so it is not chained.
        raise failure_of(ex, endpoint.model) from None
    finally:
        if _is_internal is not None and token is not None:
            _is_internal.reset(token)
    usage = _usage(litellm, endpoint.model, answer, time.monotonic() - began)
    try:
        return read(answer, usage)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ProviderFailure("bad_response", model=endpoint.model) from None


def _common(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "model": endpoint.model,
        "api_key": endpoint.api_key,
        "api_base": endpoint.api_base,
        "timeout": endpoint.timeout_seconds,
        "max_retries": 0,
        "num_retries": 0,
    }


def _response_format(completion: Completion) -> dict[str, Any] | None:
    if completion.json_schema is None:
        return None
    return {
        "type": "json_schema",
        "json_schema": {"name": completion.json_schema_name, "schema": completion.json_schema, "strict": True},
    }


def _usage(litellm: Any, model: str, answer: Any, seconds: float) -> Usage:
    hidden = getattr(answer, "_hidden_params", None) or {}
    counted = getattr(answer, "usage", None)
    if counted is None:  # Reranking reports what it bills apart.
        tokens = (getattr(answer, "meta", None) or {}).get("tokens") or {}
        counts = (tokens.get("input_tokens"), tokens.get("output_tokens"))
    else:
        counts = (getattr(counted, "prompt_tokens", 0), getattr(counted, "completion_tokens", 0))
    cost = hidden.get("response_cost")
    return Usage(
        model=model,
        provider=hidden.get("custom_llm_provider") or provider_of(model),
        input_tokens=int(counts[0] or 0),
        output_tokens=int(counts[1] or 0),
        cost_usd=float(cost) if isinstance(cost, (int, float)) else None,
        latency_ms=round(seconds * 1000),
    )
