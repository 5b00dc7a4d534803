"""What every long-running process of ours does before its work: settings, addresses, time zone, logging, schema."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from pathlib import Path

from config.metrics import disown_metrics
from config.settings import ConfigurationError, Settings, load_settings, variable
from storage import embedded_postgres, embedded_redis
from storage.children import StartFailed

_ARENAS = "2"

#: The parameter's number in glibc's malloc.h. Other C libraries have no such function, or refuse it.
_M_ARENA_MAX = -8


def connected_database(settings: Settings) -> str:
    """Address of the database: the one set, else the embedded server's that runs in the data folder.

    Raises:
        StartFailed: when there is neither.
    """
    if settings.database_url is not None:
        return settings.database_url
    data_dir = Path(settings.data_dir)
    if not embedded_postgres.socket_file(data_dir).exists():
        raise StartFailed(_no_server("database", "database_url", settings))
    return embedded_postgres.url(data_dir)


def connected_redis(settings: Settings) -> str:
    """Address of Redis, likewise.

    Raises:
        StartFailed: when there is none.
    """
    if settings.redis_url is not None:
        return settings.redis_url
    data_dir = Path(settings.data_dir)
    if not embedded_redis.socket_path(data_dir).exists():
        raise StartFailed(_no_server("Redis", "redis_url", settings))
    return embedded_redis.url(data_dir)


def prepare(process: str, **overrides: object) -> Settings:
    """Make this process ready to run a part of the server, with command-line `overrides` of settings.

    The result is put into the environment as well, because the part's own processes read their settings there.

    Raises:
        ConfigurationError: when a setting is unusable.
        StartFailed: when the database cannot be reached or its schema is not the one this version needs.
    """
    for name, value in overrides.items():
        if value is not None:
            os.environ[variable(name)] = str(value)
    disown_metrics()
    settings = load_settings()
    use_one_thread_per_product()
    use_few_arenas()
    require_files(settings)
    database_url = connected_database(settings)
    os.environ[variable("database_url")] = database_url
    os.environ[variable("redis_url")] = connected_redis(settings)
    use_utc()

    from config.logging import configure_logging

    configure_logging(settings, process=process)
    require_schema(database_url)
    return settings


def use_utc() -> None:
    """Let this process and those it starts reckon in UTC: the scheduler's table means UTC."""
    os.environ["TZ"] = "UTC"
    time.tzset()


def use_one_thread_per_product() -> None:
    """Keep numpy's matrix products on the thread that asks for them: they are too small to share, and every thread of
    the library reserves memory. Read when numpy is first imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def use_few_arenas() -> None:
    """Keep the C library from giving each thread an arena of its own: what big texts left behind in one of them is used
    by no other. The variable is for processes that are started from this one; this one has read it already."""
    os.environ.setdefault("MALLOC_ARENA_MAX", _ARENAS)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))


def require_files(settings: Settings) -> None:
    """Refuse to start with files of the operator's that cannot be used: every process would fail, again and again.

    Raises:
        ConfigurationError: naming each broken memory template and language file with its line, or a folder without a
            model.
    """
    problems: list[str] = []
    if settings.template_dir is not None:
        from pipelines.template_files import load_templates

        try:
            load_templates(settings.template_dir)
        except ConfigurationError as ex:
            problems += ex.problems
    if settings.language_dir is not None:
        from pipelines.languages import LanguageFileBroken
        from pipelines.terms import use_languages

        try:
            use_languages(settings.language_dir)
        except LanguageFileBroken as ex:
            problems.append(f"{variable('language_dir')}: {ex}")
    if settings.embedding_provider == "local" and settings.embedding_model is not None:
        from pipelines.embedder_folders import FolderMissing
        from pipelines.embedders import configured_model

        try:
            configured_model(settings)
        except FolderMissing as ex:
            problems.append(str(ex))
    if problems:
        raise ConfigurationError(problems)


def require_schema(database_url: str) -> None:
    """Refuse to work on another schema than the one this version was written for.

    Raises:
        StartFailed: with the command that fixes it, or when the database does not answer.
    """
    import psycopg

    from storage.migrate import SchemaMismatch, require_current_schema

    try:
        require_current_schema(database_url)
    except SchemaMismatch as ex:
        raise StartFailed(str(ex)) from ex
    except psycopg.OperationalError as ex:
        raise StartFailed(f"the database does not answer: {ex}") from ex


def _no_server(what: str, field: str, settings: Settings) -> str:
    return (
        f"no {what}: {variable(field)} is not set and no `statewave up` runs in {Path(settings.data_dir).resolve()}. "
        f"Set it, or start `statewave up` first"
    )
