"""Settings of the processes themselves: databases, addresses, who may enter, retrieval, logs."""

from __future__ import annotations

from dataclasses import dataclass

from config.setting_field import setting
from config.setting_parsers import (
    boolean,
    choice,
    database_url,
    header_name,
    integer,
    optional_integer,
    optional_text,
    origins,
    redis_url,
    region,
    seconds,
    sentry_dsn,
    text,
)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Fields carry the name of their variable without the prefix, in lower case."""

    database_url: str | None = setting(
        None, "PostgreSQL to use; unset starts the embedded one under `STATEWAVE_DATA_DIR`", database_url
    )
    redis_url: str | None = setting(
        None, "Redis to use; unset starts the embedded one under `STATEWAVE_DATA_DIR`", redis_url
    )
    data_dir: str = setting(".statewave", "Folder of the embedded servers' data and logs", text)
    host: str = setting("127.0.0.1", "Address the API binds to; any other than loopback needs an API key", text)
    port: int = setting(8100, "Port of the API", integer(1, 65535))
    api_key: str | None = setting(None, "Shared key that clients send; unset means open access", optional_text)
    require_api_key: bool = setting(
        False,
        "Refuse requests without a key although `STATEWAVE_API_KEY` is unset: for `statewave keys` alone",
        boolean,
    )
    allow_open_access: bool = setting(False, "Start without an API key although the address is not loopback", boolean)
    allow_query_api_key: bool = setting(
        False, "Accept `?api_key=` as well; off because query strings end up in access logs", boolean
    )
    tenant_header: str = setting("X-Tenant-ID", "Header that names the tenant", header_name)
    require_tenant: bool = setting(False, "Refuse requests without a tenant header", boolean)
    region: str | None = setting(
        None, "Region that this server is in; tenants pinned to another are refused. Unset serves all", region
    )
    cors_origins: tuple[str, ...] = setting(("*",), "Origins that browsers may call from, as a JSON list", origins)
    max_body_bytes: int = setting(16 * 1024 * 1024, "Largest request body accepted, in bytes", integer(1024, 1024**3))
    api_workers: int = setting(2, "API processes", integer(1, 128))
    api_threads: int = setting(8, "Request threads of each API process", integer(1, 256))
    worker_processes: int = setting(1, "Worker processes that `statewave up` starts", integer(1, 64))
    worker_threads: int = setting(4, "Actor threads of each worker process", integer(1, 128))
    pool_size: int = setting(10, "Database connections of one process at most", integer(1, 200))
    statement_timeout_seconds: float = setting(30.0, "Longest time one SQL statement may run", seconds(0.1, 3600))
    default_max_context_tokens: int = setting(
        4000, "Token budget of a context request that names none", integer(1, 128_000)
    )
    subject_cache_mb: int = setting(
        192,
        "Megabytes in which each API process keeps large subjects between requests; one of 100,000 memories takes 80."
        " Small ones take up to a sixth besides; 0 reads all anew each time",
        integer(0, 1024 * 1024),
    )
    template_dir: str | None = setting(
        None, "Folder of your own memory templates (YAML), beside the bundled ones", optional_text
    )
    language_dir: str | None = setting(
        None, "Folder of your own language files (TOML), beside the bundled ones", optional_text
    )
    lease_seconds: float = setting(
        30.0, "Time after which a run whose worker went silent is taken over", seconds(1, 3600)
    )
    tenant_runs_in_flight: int = setting(
        32, "Runs of one tenant and queue that are worked on at the same time, over all workers", integer(1, 10_000)
    )
    worker_metrics_port: int | None = setting(
        None,
        "Port on which `statewave worker` serves Prometheus metrics; unset serves none",
        optional_integer(1, 65535),
    )
    worker_metrics_host: str = setting(
        "127.0.0.1", "Address that port binds to; it asks for no key, so keep it where only Prometheus comes", text
    )
    log_format: str = setting("text", "`text` for a terminal, `json` for a log collector", choice("text", "json"))
    log_level: str = setting("INFO", "Lowest level that is logged", choice("DEBUG", "INFO", "WARNING", "ERROR"))
    sentry_dsn: str | None = setting(None, "Sentry project that errors are reported to", sentry_dsn)
