"""Every setting of the server, read from `STATEWAVE_*` variables and validated once, at start.

`Settings` is the single list: the README's configuration table is generated from it, and a variable that
is not a field here does nothing. A bad value never starts a process; `ConfigurationError` names every bad
variable at once with what would be accepted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from config import webhooks
from config.receipt_keys import ed25519_keys, hmac_keys
from config.setting_parsers import (
    boolean,
    choice,
    database_url,
    days_by_kind,
    integer,
    network_list,
    number,
    optional_amount,
    optional_integer,
    optional_seconds,
    optional_text,
    redis_url,
    region,
    seconds,
    text,
    text_list,
    webhook_events,
    webhook_secrets,
    webhook_url,
)

PREFIX = "STATEWAVE_"


class ConfigurationError(Exception):
    """One or more variables hold values the server cannot run with."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("configuration refused:\n" + "\n".join(f"  - {problem}" for problem in problems))


def _setting(default: Any, doc: str, parse: Callable[[str], Any]) -> Any:
    metadata = {"doc": doc, "parse": parse}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The process's configuration. Fields carry the name of their variable without the prefix, in lower case."""

    database_url: str | None = _setting(
        None, "PostgreSQL to use; unset starts the embedded one under `STATEWAVE_DATA_DIR`", database_url
    )
    redis_url: str | None = _setting(
        None, "Redis to use; unset starts the embedded one under `STATEWAVE_DATA_DIR`", redis_url
    )
    data_dir: str = _setting(".statewave", "Folder of the embedded servers' data and logs", text)
    host: str = _setting("127.0.0.1", "Address the API binds to; any other than loopback needs an API key", text)
    port: int = _setting(8100, "Port of the API", integer(1, 65535))
    api_key: str | None = _setting(None, "Shared key that clients send; unset means open access", optional_text)
    require_api_key: bool = _setting(
        False,
        "Refuse requests without a key although `STATEWAVE_API_KEY` is unset: for `statewave keys` alone",
        boolean,
    )
    allow_open_access: bool = _setting(False, "Start without an API key although the address is not loopback", boolean)
    allow_query_api_key: bool = _setting(
        False, "Accept `?api_key=` as well; off because query strings end up in access logs", boolean
    )
    tenant_header: str = _setting("X-Tenant-ID", "Header that names the tenant", text)
    require_tenant: bool = _setting(False, "Refuse requests without a tenant header", boolean)
    region: str | None = _setting(
        None, "Region that this server is in; tenants pinned to another are refused. Unset serves all", region
    )
    cors_origins: tuple[str, ...] = _setting(("*",), "Origins that browsers may call from, as a JSON list", text_list)
    max_body_bytes: int = _setting(16 * 1024 * 1024, "Largest request body accepted, in bytes", integer(1024, 1024**3))
    api_workers: int = _setting(2, "API processes", integer(1, 128))
    api_threads: int = _setting(8, "Request threads of each API process", integer(1, 256))
    worker_processes: int = _setting(1, "Worker processes that `statewave up` starts", integer(1, 64))
    worker_threads: int = _setting(4, "Actor threads of each worker process", integer(1, 128))
    pool_size: int = _setting(10, "Database connections of one process at most", integer(1, 200))
    statement_timeout_seconds: float = _setting(30.0, "Longest time one SQL statement may run", seconds(0.1, 3600))
    compiler_type: str = _setting(
        "heuristic", "How memories are compiled: `heuristic` (rules) or `llm` (a model)", choice("heuristic", "llm")
    )
    auto_labeling_enabled: bool = _setting(
        False,
        "Suggest sensitivity labels for new memories; nothing follows from a suggestion until it is promoted",
        boolean,
    )
    auto_labeling_provider: str = _setting("heuristic", "Who suggests labels", choice("heuristic"))
    compile_batch_size: int = _setting(500, "Episodes that one compile run takes at most", integer(1, 5000))
    compile_fallback: str = _setting(
        "none",
        "What `llm` does while no provider answers: `none` (episodes wait) or `heuristic` (compile them by rules)",
        choice("none", "heuristic"),
    )
    compile_wait_seconds: float = _setting(
        25.0, "With `llm`: longest time that a synchronous compile waits for the workers", seconds(0, 600)
    )
    compile_max_concurrency: int = _setting(
        4, "Calls to language models under way at the same time, over all workers", integer(1, 1000)
    )
    compile_window_chars: int = _setting(
        6000, "Characters of episodes that a model is shown in one call", integer(500, 200_000)
    )
    compile_window_overlap: int = _setting(
        200, "Characters of a long episode's window that the next one repeats", integer(0, 10_000)
    )
    compile_message_level: bool = _setting(
        False, "Show models a few messages at a time instead of full windows", boolean
    )
    compile_messages_per_chunk: int = _setting(6, "Messages of such a piece", integer(1, 100))
    compile_message_overlap: int = _setting(1, "Messages that the next such piece repeats", integer(0, 50))
    compile_recall_sweep: bool = _setting(False, "Ask a second time for what the first answer missed", boolean)
    dedup_compile_enabled: bool = _setting(
        True, "With `llm`: drop memories that say what a stored one says, by likeness", boolean
    )
    dedup_sim_threshold: float = _setting(0.95, "Cosine from which two memories say the same", number(0.5, 1))
    dedup_max_candidates: int = _setting(4000, "Stored memories that new ones are compared with", integer(1, 100_000))
    reconcile_compile_enabled: bool = _setting(
        True, "With `llm`: let the model compare new memories with stored ones that are near", boolean
    )
    reconcile_chunk_size: int = _setting(40, "New memories compared in one call", integer(1, 200))
    reconcile_max_existing: int = _setting(60, "Stored memories shown in one call", integer(1, 500))
    reconcile_top_k_per_candidate: int = _setting(
        5, "Stored memories that each new one is compared with", integer(1, 50)
    )
    litellm_api_key: str | None = _setting(
        None,
        "Key of the model provider; unset takes the vendor's own variable, such as `OPENAI_API_KEY`",
        optional_text,
    )
    litellm_api_base: str | None = _setting(None, "Address of the model provider, if not the vendor's", optional_text)
    litellm_model: str = _setting("gpt-4o-mini", "Language model, by LiteLLM's name of it", text)
    litellm_compile_model: str | None = _setting(
        None, "Language model of the compiler, where it is not `STATEWAVE_LITELLM_MODEL`", optional_text
    )
    llm_models: tuple[str, ...] = _setting(
        (),
        "Language models of the compiler in the order in which they are tried, in place of the one above;"
        " `model@https://host/v1` names the address as well",
        text_list,
    )
    litellm_timeout_seconds: float = _setting(60.0, "Time that a provider has to answer a call", seconds(0.1, 540))
    litellm_temperature: float = _setting(0.1, "Temperature of the compiler's model", number(0, 2))
    litellm_reasoning_effort: str | None = _setting(
        None, "Reasoning effort for models that take one, such as `low`", optional_text
    )
    litellm_compile_max_tokens: int = _setting(
        16_000, "Tokens that an answer to the compiler may have", integer(256, 200_000)
    )
    auto_compile_after_seconds: float | None = _setting(
        5.0, "Quiet time after an episode until its subject is compiled; empty turns it off", optional_seconds(0, 86400)
    )
    auto_compile_at_latest_seconds: float = _setting(
        60.0, "Longest time a subject that never goes quiet waits for its compilation", seconds(0, 86400)
    )
    compile_job_retention_hours: int = _setting(
        168, "Hours that finished runs are kept; 0 keeps them for ever", integer(0, 24 * 3650)
    )
    kind_ttl_days: Mapping[str, int] = _setting(
        {}, "Days until memories of a kind expire, as a JSON object; empty means never", days_by_kind
    )
    embedding_provider: str = _setting(
        "local",
        "`local` (on this machine, no key), `litellm` (a provider's model) or `none` (lexical retrieval only)",
        choice("local", "litellm", "none"),
    )
    embedding_model: str | None = _setting(
        None,
        "With `local`: what to use in place of the bundled model: the folder of one, or `minilm` (after `make minilm`)."
        " Installations that hold data change their model by `statewave embeddings migrate`",
        optional_text,
    )
    embedding_dimensions: int | None = _setting(
        None, "Width of a provider's vectors; 1,536 if unset", optional_integer(1, 65_536)
    )
    litellm_embedding_model: str = _setting(
        "text-embedding-3-small", "With `litellm`: the embedding model, by LiteLLM's name of it", text
    )
    litellm_embedding_api_base: str | None = _setting(
        None, "Address of the embedding provider, where it is not `STATEWAVE_LITELLM_API_BASE`", optional_text
    )
    embedding_query_timeout_seconds: float = _setting(
        3.0, "Time a provider has to embed a query; after it, retrieval goes by words alone", seconds(0.05, 20)
    )
    rerank_model: str | None = _setting(
        None,
        "Reranking model, by LiteLLM's name of it, that puts the best candidates of a context in order",
        optional_text,
    )
    rerank_max_pool: int = _setting(100, "Candidates that the reranking model is shown", integer(2, 1000))
    rerank_timeout_seconds: float = _setting(
        1.0, "Time the reranking model has; after it, our own order stands", seconds(0.05, 20)
    )
    rerank_api_base: str | None = _setting(
        None, "Address of the reranking provider, where it is not `STATEWAVE_LITELLM_API_BASE`", optional_text
    )
    embedding_keep_days: int = _setting(
        7, "Days that vectors of the former model are kept for a rollback; 0 keeps them", integer(0, 3650)
    )
    default_max_context_tokens: int = _setting(
        4000, "Token budget of a context request that names none", integer(1, 128_000)
    )
    subject_cache_mb: int = _setting(
        192,
        "Megabytes in which each API process keeps large subjects between requests; one of 100,000 memories takes 80;"
        " 0 reads them anew each time",
        integer(0, 1024 * 1024),
    )
    template_dir: str | None = _setting(
        None, "Folder of your own memory templates (YAML), beside the bundled ones", optional_text
    )
    language_dir: str | None = _setting(
        None, "Folder of your own language files (TOML), beside the bundled ones", optional_text
    )
    lease_seconds: float = _setting(
        30.0, "Time after which a run whose worker went silent is taken over", seconds(1, 3600)
    )
    webhook_url: str | None = _setting(
        None, "Address that the events of all tenants are sent to; tenants may have addresses of their own", webhook_url
    )
    webhook_events: tuple[str, ...] = _setting(
        (), "Events that `STATEWAVE_WEBHOOK_URL` receives, separated by commas; empty means all", webhook_events
    )
    webhook_secret: tuple[str, ...] = _setting(
        (),
        "`whsec_...` secret that signs what is sent to `STATEWAVE_WEBHOOK_URL`; while it is being changed, the new and"
        " the old one separated by a comma",
        webhook_secrets,
    )
    webhook_timeout: float = _setting(
        5.0, "Time a webhook receiver has to answer, from looking up its name to its status", seconds(0.5, 120)
    )
    webhook_allow_private: bool = _setting(
        False, "Deliver webhooks to private, loopback and link-local addresses as well", boolean
    )
    webhook_retention_hours: int = _setting(
        168, "Hours that delivered webhooks are kept; 0 keeps them for ever, as dead letters are", integer(0, 24 * 3650)
    )
    tenant_runs_in_flight: int = _setting(
        32, "Runs of one tenant and queue that are worked on at the same time, over all workers", integer(1, 10_000)
    )
    rate_limit_rpm: int = _setting(
        0, "Requests a minute that one client address may send; 0 is no limit", integer(0, 1_000_000)
    )
    rate_limit_key_rpm: int = _setting(
        0, "Requests a minute that may be sent with one API key; 0 is no limit", integer(0, 1_000_000)
    )
    rate_limit_tenant_rpm: int = _setting(
        0, "Requests a minute of one tenant, unless it has a limit of its own; 0 is no limit", integer(0, 1_000_000)
    )
    rate_limit_strategy: str = _setting(
        "distributed",
        "`distributed` counts all API processes together, in Redis; `memory` each for itself",
        choice("distributed", "memory"),
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        "Addresses and networks of proxies whose `X-Forwarded-For` or `Forwarded` header is believed",
        network_list,
    )
    llm_daily_budget_usd: Decimal | None = _setting(  # noqa: RUF009 - Decimal is as immutable as int
        None,
        "US dollars that a tenant may spend on model providers in a day (UTC); unset is no limit, 0 allows nothing",
        optional_amount(1_000_000),
    )
    llm_daily_budget_tokens: int | None = _setting(
        None, "Tokens that a tenant may use of model providers in a day (UTC)", optional_integer(0, 10**12)
    )
    provider_call_retention_days: int = _setting(
        90,
        "Days that single calls to model providers are kept; 0 keeps them for ever, as their sums are",
        integer(0, 3650),
    )
    worker_metrics_port: int | None = _setting(
        None,
        "Port on which `statewave worker` serves Prometheus metrics; unset serves none",
        optional_integer(1, 65535),
    )
    worker_metrics_host: str = _setting(
        "127.0.0.1", "Address that port binds to; it asks for no key, so keep it where only Prometheus comes", text
    )
    receipts_disabled: bool = _setting(
        False, "Write no receipts, whatever tenants and requests ask for; looked at again on every call", boolean
    )
    receipt_signing_keys: Mapping[str, bytes] = _setting(
        {}, "HMAC keys of receipts: a JSON object from key id to base64 of at least 32 bytes", hmac_keys
    )
    receipt_ed25519_keys: Mapping[str, bytes] = _setting(
        {}, "Ed25519 keys of receipts: a JSON object from key id to base64 of a 32-byte seed", ed25519_keys
    )
    log_format: str = _setting("text", "`text` for a terminal, `json` for a log collector", choice("text", "json"))
    log_level: str = _setting("INFO", "Lowest level that is logged", choice("DEBUG", "INFO", "WARNING", "ERROR"))
    sentry_dsn: str | None = _setting(None, "Sentry project that errors are reported to", optional_text)

    @property
    def compile_models(self) -> tuple[str, ...]:
        """The compiler's models in the order in which they are tried."""
        return self.llm_models or (self.litellm_compile_model or self.litellm_model,)


def variable(field_name: str) -> str:
    """Name of the environment variable of a field."""
    return PREFIX + field_name.upper()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and validate all settings from the environment, or from the mapping given.

    Variables of the file named by `STATEWAVE_ENV_FILE` (default `.env`) fill what the environment leaves unset.

    Raises:
        ConfigurationError: naming each variable that is unusable, and what would be accepted.
    """
    source = with_env_file(os.environ) if environ is None else environ
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in dataclasses.fields(Settings):
        raw = source.get(variable(field.name))
        if raw is None:
            continue
        try:
            values[field.name] = field.metadata["parse"](raw)
        except ValueError as ex:
            problems.append(f"{variable(field.name)}: {ex}")
    if problems:
        raise ConfigurationError(problems)
    settings = Settings(**values)
    problems = _combination_problems(settings)
    if problems:
        raise ConfigurationError(problems)
    return settings


def _combination_problems(settings: Settings) -> list[str]:
    problems = []
    if twice := settings.receipt_signing_keys.keys() & settings.receipt_ed25519_keys.keys():
        problems.append(
            f"{variable('receipt_ed25519_keys')}: {sorted(twice)[0]!r} is also a key of "
            f"{variable('receipt_signing_keys')}; a key id must name one key"
        )
    loopback = settings.host in ("127.0.0.1", "::1", "localhost")
    if not (loopback or settings.api_key or settings.require_api_key or settings.allow_open_access):
        problems.append(
            f"{variable('api_key')}: needed because {variable('host')}={settings.host} is reachable from other "
            f"machines; set a key, {variable('require_api_key')}=true to accept those of `statewave keys` alone, or "
            f"{variable('allow_open_access')}=true to serve everyone"
        )
    if (
        settings.webhook_url
        and not settings.webhook_allow_private
        and webhooks.names_private_host(settings.webhook_url)
    ):
        problems.append(
            f"{variable('webhook_url')}: is not on the public internet; set {variable('webhook_allow_private')}=true "
            "if it is meant to be reached"
        )
    if settings.compile_window_overlap > settings.compile_window_chars // 2:
        problems.append(
            f"{variable('compile_window_overlap')}: use at most half of {variable('compile_window_chars')} "
            f"({settings.compile_window_chars})"
        )
    return problems


def receipts_disabled(settings: Settings) -> bool:
    """Whether receipts are switched off at this moment: the environment of the process decides, read each time."""
    now = os.environ.get(variable("receipts_disabled"))
    if now is None:
        return settings.receipts_disabled
    try:
        return boolean(now)
    except ValueError:
        return settings.receipts_disabled


def with_env_file(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, completed by the `KEY=value` lines of its env file if there is one."""
    path = Path(environ.get(variable("env_file"), ".env"))
    if not path.is_file():
        return environ
    pairs = (line.partition("=") for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    from_file = {key.strip(): value.strip().strip("'\"") for key, separator, value in pairs if separator}
    return {**from_file, **environ}
