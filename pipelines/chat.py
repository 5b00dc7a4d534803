"""Asking the configured language model for a caller (contract: core §6.15). The caller cannot choose the model."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from config.errors import ModelFailed, ModelMissing, ModelSlow, Unavailable, ValidationFailed
from config.settings import Settings
from pipelines.providers.account import Account, charged_to
from pipelines.providers.calls import Completion, Message, ProviderFailure
from pipelines.providers.endpoints import endpoint_of
from pipelines.services import Services

log = structlog.get_logger()

#: Seconds beyond the provider's own time that the answer may take on its way.
MARGIN_SECONDS = 2.0

#: Seconds after which a client is told to come again when a provider does not say.
RETRY_AFTER_SECONDS = 5


class ChatUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said, which one it was, and what it used."""

    reply: str
    model: str
    usage: ChatUsage | None


def is_configured(settings: Settings) -> bool:
    """Whether anything says which model to ask."""
    return bool(settings.compiler_type == "llm" or settings.litellm_api_key or settings.litellm_api_base)


def chat(
    services: Services,
    tenant_id: str,
    messages: Sequence[Message],
    *,
    max_tokens: int | None,
    temperature: float | None,
) -> ChatAnswer:
    """Ask `STATEWAVE_LITELLM_MODEL`. Neither question nor answer is stored or logged.

    Raises:
        ModelMissing: when none is configured.
        BudgetExhausted: when the tenant may not ask any more today.
        ModelSlow: when there was no answer in time.
        ModelFailed: when there was none at all.
        Unavailable: while the provider is spared, or nobody takes calls to it.
    """
    settings = services.settings
    if not is_configured(settings) or services.desk is None:
        raise ModelMissing()
    completion = Completion(
        endpoint=endpoint_of(
            settings, settings.litellm_model, base=None, timeout_seconds=settings.litellm_timeout_seconds
        ),
        messages=list(messages),
        max_tokens=max_tokens,
        temperature=settings.litellm_temperature if temperature is None else temperature,
    )
    try:
        with charged_to(Account(services.pool, settings, tenant_id)):
            result = services.desk.complete(
                completion, timeout_seconds=settings.litellm_timeout_seconds + MARGIN_SECONDS
            )
    except ProviderFailure as ex:
        log.warning("model gave no answer", model=ex.model, reason=ex.reason, status=ex.status)
        raise _told(ex) from None
    usage = result.usage
    return ChatAnswer(
        reply=result.text,
        model=usage.model,
        usage=ChatUsage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        ),
    )


def _told(ex: ProviderFailure) -> Exception:
    """What the caller is told. The provider's own words stay here: they may quote keys and content."""
    if ex.reason == "timeout":
        return ModelSlow()
    if ex.reason in ("context_window", "content_policy"):
        why = "is too long for" if ex.reason == "context_window" else "was refused by the content policy of"
        return ValidationFailed(f"the conversation {why} {ex.model}", code=ex.reason)
    retry_after = max(1, round(ex.retry_after)) if ex.retry_after is not None else RETRY_AFTER_SECONDS
    if ex.reason in ("circuit_open", "busy", "rate_limited") or ex.code in ("no_broker", "no_worker_for_llm"):
        return Unavailable(
            f"{ex.model} cannot be asked now ({ex.code or ex.reason})", code="llm_unavailable", retry_after=retry_after
        )
    return ModelFailed(f"{ex.model} gave no answer ({ex.reason})")
