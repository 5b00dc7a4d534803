"""The data of calls to providers: what is asked, what comes back, what it cost, and how it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from config.deferred import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


MessageRole = Literal["system", "user", "assistant", "tool"]

#: Why a call failed. Those down to `busy` pass by themselves; the others need somebody to change something.
#: `bad_response` is no answer in the provider's own terms, `unusable_answer` one that is not what was asked for;
#: `circuit_open` and `busy` say that nobody was asked: all have failed lately, or all slots were taken for too long.
Reason = Literal[
    "rate_limited",
    "timeout",
    "unavailable",
    "unreachable",
    "bad_response",
    "unusable_answer",
    "circuit_open",
    "busy",
    "authentication",
    "not_found",
    "out_of_credit",
    "context_window",
    "content_policy",
    "refused",
    "not_installed",
]

TRANSIENT: frozenset[Reason] = frozenset(
    {
        *("rate_limited", "timeout", "unavailable", "unreachable"),
        *("bad_response", "unusable_answer", "circuit_open", "busy"),
    }
)


class ProviderFailure(Exception):
    """A call to a provider failed. The text names model, reason and status, and never what was sent or answered.

    Attributes:
        reason: what went wrong, in one word.
        transient: whether the same call may succeed later.
        retry_after: seconds that the provider asks to wait, if it does.
        status: HTTP status of the answer, if there was one.
        model: who failed.
        code: the provider's own word for it, if it is one.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        model: str,
        status: int | None = None,
        retry_after: float | None = None,
        code: str | None = None,
    ) -> None:
        self.reason: Reason = reason
        self.transient = reason in TRANSIENT
        self.model = model
        self.status = status
        self.retry_after = retry_after
        self.code = code
        answered = f" (status {status}{f', {code}' if code else ''})" if status is not None else ""
        super().__init__(f"{model}: {reason}{answered}")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is and how long it may take.

    Attributes:
        model: LiteLLM's name of it, such as `gpt-4o-mini` or `bedrock/anthropic.claude-3-haiku-20240307-v1:0`.
        api_key: None takes the vendor's own variable (`OPENAI_API_KEY`, `AWS_ACCESS_KEY_ID`, ...).
        api_base: None takes the vendor's address.
        timeout_seconds: longest silence until the call counts as failed.
    """

    model: str
    api_key: str | None = None
    api_base: str | None = None
    timeout_seconds: float = 60.0

    def __repr__(self) -> str:
        return f"Endpoint(model={self.model!r}, api_base={self.api_base!r})"


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation with a model."""

    role: MessageRole
    content: str


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a chat model. Options that the model does not know are left out.

    Attributes:
        json_schema: schema that the answer must follow, for models that can be held to one. Others are told by the
            prompt, so the answer is validated in any case.
        json_schema_name: what the schema is called on the wire.
    """

    endpoint: Endpoint
    messages: list[Message]
    max_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    json_schema: dict[str, Any] | None = None
    json_schema_name: str = "answer"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one call used. `cost_usd` is None where LiteLLM's price map does not know the model."""

    model: str
    provider: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    latency_ms: int


def unanswered(model: str, seconds: float) -> Usage:
    """What there is to record of a call that got no answer: how long that took."""
    return Usage(
        model=model,
        provider=provider_of(model),
        input_tokens=0,
        output_tokens=0,
        cost_usd=None,
        latency_ms=round(seconds * 1000),
    )


def provider_of(model: str) -> str:
    """The vendor that LiteLLM calls for a model's name, as far as the name says it."""
    prefix, slash, _ = model.partition("/")
    return prefix if slash else "openai"


class CompletionResult(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer; `cut_off` when it reached its token limit before it was done."""

    text: str
    cut_off: bool
    usage: Usage


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors as they came, (n, dimensions), in the order of the texts; not normalised."""

    vectors: NDArray[np.float32]
    usage: Usage


class Ranked(msgspec.Struct, frozen=True):
    """A document, by its index in the call, and how relevant it is: higher is better, without a common scale."""

    index: int
    score: float


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """Documents by relevance, best first."""

    results: list[Ranked]
    usage: Usage
