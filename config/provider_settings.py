"""Settings of model providers: language models, embeddings, reranking, and what they may cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from config.setting_field import setting
from config.setting_parsers import (
    choice,
    integer,
    number,
    optional_amount,
    optional_integer,
    optional_text,
    seconds,
    text,
    text_list,
)


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """Fields carry the name of their variable without the prefix, in lower case."""

    litellm_api_key: str | None = setting(
        None,
        "Key of the model provider; unset takes the vendor's own variable, such as `OPENAI_API_KEY`",
        optional_text,
    )
    litellm_api_base: str | None = setting(None, "Address of the model provider, if not the vendor's", optional_text)
    litellm_model: str = setting("gpt-4o-mini", "Language model, by LiteLLM's name of it", text)
    litellm_compile_model: str | None = setting(
        None, "Language model of the compiler, where it is not `STATEWAVE_LITELLM_MODEL`", optional_text
    )
    llm_models: tuple[str, ...] = setting(
        (),
        "Language models of the compiler in the order in which they are tried, in place of the one above;"
        " `model@https://host/v1` names the address as well",
        text_list,
    )
    litellm_timeout_seconds: float = setting(60.0, "Time that a provider has to answer a call", seconds(0.1, 540))
    litellm_temperature: float = setting(0.1, "Temperature of the compiler's model", number(0, 2))
    litellm_reasoning_effort: str | None = setting(
        None, "Reasoning effort for models that take one, such as `low`", optional_text
    )
    litellm_compile_max_tokens: int = setting(
        16_000, "Tokens that an answer to the compiler may have", integer(256, 200_000)
    )
    embedding_provider: str = setting(
        "local",
        "`local` (on this machine, no key), `litellm` (a provider's model) or `none` (lexical retrieval only)",
        choice("local", "litellm", "none"),
    )
    embedding_model: str | None = setting(
        None,
        "With `local`: what to use in place of the bundled model: the folder of one, or `minilm` (after `make minilm`)."
        " Installations that hold data change their model by `statewave embeddings migrate`",
        optional_text,
    )
    embedding_dimensions: int | None = setting(
        None, "Width of a provider's vectors; 1,536 if unset", optional_integer(1, 65_536)
    )
    litellm_embedding_model: str = setting(
        "text-embedding-3-small", "With `litellm`: the embedding model, by LiteLLM's name of it", text
    )
    litellm_embedding_api_base: str | None = setting(
        None, "Address of the embedding provider, where it is not `STATEWAVE_LITELLM_API_BASE`", optional_text
    )
    embedding_query_timeout_seconds: float = setting(
        3.0, "Time a provider has to embed a query; after it, retrieval goes by words alone", seconds(0.05, 20)
    )
    rerank_model: str | None = setting(
        None,
        "Reranking model, by LiteLLM's name of it, that puts the best candidates of a context in order",
        optional_text,
    )
    rerank_max_pool: int = setting(100, "Candidates that the reranking model is shown", integer(2, 1000))
    rerank_timeout_seconds: float = setting(
        1.0, "Time the reranking model has; after it, our own order stands", seconds(0.05, 20)
    )
    rerank_api_base: str | None = setting(
        None, "Address of the reranking provider, where it is not `STATEWAVE_LITELLM_API_BASE`", optional_text
    )
    embedding_keep_days: int = setting(
        7, "Days that vectors of the former model are kept for a rollback; 0 keeps them", integer(0, 3650)
    )
    llm_daily_budget_usd: Decimal | None = setting(  # noqa: RUF009 - Decimal is as immutable as int
        None,
        "US dollars that a tenant may spend on model providers in a day (UTC); unset is no limit, 0 allows nothing",
        optional_amount(1_000_000),
    )
    llm_daily_budget_tokens: int | None = setting(
        None, "Tokens that a tenant may use of model providers in a day (UTC)", optional_integer(0, 10**12)
    )
    provider_call_retention_days: int = setting(
        90,
        "Days that single calls to model providers are kept; 0 keeps them for ever, as their sums are",
        integer(0, 3650),
    )

    @property
    def compile_models(self) -> tuple[str, ...]:
        """The compiler's models in the order in which they are tried."""
        return self.llm_models or (self.litellm_compile_model or self.litellm_model,)
