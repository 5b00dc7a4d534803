"""What one check of `statewave doctor` is, and the checks of this machine and installation."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.up import readiness, require_free_port
from config.settings import Settings, variable
from storage.children import StartFailed
from storage.embedded_postgres import binary_folder
from storage.embedded_redis import find_binary

#: Less free space than this stops a database sooner or later, in bytes.
FREE_SPACE = 1024**3

#: A clock before this was never set (2026-01-01).
EARLIEST_CLOCK = 1_767_225_600

PARTS = (
    "falcon",
    "gunicorn",
    "dramatiq",
    "periodiq",
    "psycopg",
    "redis",
    "msgspec",
    "structlog",
    "numpy",
    "tokenizers",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report. Every failure carries the remedy."""

    name: str
    status: Literal["ok", "fail", "skipped"]
    detail: str
    remedy: str | None = None


def passed(name: str, detail: str) -> Check:
    return Check(name, "ok", detail)


def failed(name: str, detail: str, remedy: str) -> Check:
    return Check(name, "fail", detail, remedy)


def skipped(name: str, detail: str) -> Check:
    return Check(name, "skipped", detail)


def installation() -> Iterator[Check]:
    """Checks that need no settings."""
    # An older Python cannot read these files, so there is nothing to fail.
    yield passed("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _imports()
    yield _clock()


def machine(settings: Settings) -> Iterator[Check]:
    """Checks of the folders, ports and programs that the settings name."""
    yield _access(settings)
    yield _data_dir(settings)
    yield _disk(settings)
    yield _port(settings)
    if settings.database_url is None:
        yield _program("embedded PostgreSQL", lambda: binary_folder() / "postgres")
    if settings.redis_url is None:
        yield _program("embedded Redis", find_binary)
    yield _model(settings)
    yield _compiler(settings)


def _imports() -> Check:
    missing = []
    for name in PARTS:
        try:
            importlib.import_module(name)
        except ImportError as ex:
            missing.append(f"{name} ({ex})")
    if missing:
        return failed("packages", ", ".join(missing), "install again: `rm .venv/.installed-*; make up`")
    return passed("packages", f"{len(PARTS)} import")


def _clock() -> Check:
    now = time.time()
    if now < EARLIEST_CLOCK:
        return failed("clock", time.strftime("%Y-%m-%d", time.gmtime(now)), "set the machine's clock, best by NTP")
    zone = time.strftime("%Z", time.localtime(now))
    return passed("clock", f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(now))} UTC; local zone {zone} is not used")


def _access(settings: Settings) -> Check:
    # Loading the settings refuses an open server on a reachable address, so only the kind is told here.
    if settings.api_key is None:
        return passed("access", f"open, on {settings.host}")
    if len(settings.api_key) < 16:
        return failed(
            "access",
            f"{variable('api_key')} has {len(settings.api_key)} characters",
            "use a long random one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return passed("access", f"API key needed, on {settings.host}")


def _data_dir(settings: Settings) -> Check:
    folder = Path(settings.data_dir).resolve()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return passed("data folder", str(folder))
    except OSError as ex:
        remedy = f"make {existing} writable for {os.environ.get('USER', 'this user')}, or set {variable('data_dir')}"
        return failed("data folder", f"{folder}: {ex}", remedy)


def _disk(settings: Settings) -> Check:
    folder = Path(settings.data_dir).resolve()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < FREE_SPACE:
        return failed("disk", detail, f"make room, or set {variable('data_dir')} to a larger disk")
    return passed("disk", detail)


def _port(settings: Settings) -> Check:
    try:
        require_free_port(settings.host, settings.port)
    except StartFailed as ex:
        base_url = f"http://{settings.host}:{settings.port}"
        if _is_ours(base_url):
            missing = readiness(base_url)
            return passed("port", f"{settings.port}: Statewave runs there, {'ready' if missing is None else missing}")
        return failed("port", str(ex).split(":")[0], f"stop what uses it, or set {variable('port')}")
    return passed("port", f"{settings.port} is free")


def _is_ours(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/healthz", timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def _program(name: str, find: Callable[[], Path]) -> Check:
    try:
        program = find()
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
    except StartFailed as ex:
        return failed(name, "not found", str(ex))
    except (OSError, subprocess.SubprocessError) as ex:
        return failed(name, str(ex), "this machine cannot run the bundled program: use a server of your own")
    return passed(name, f"{done.stdout.strip()} ({program})")


def _model(settings: Settings) -> Check:
    from pipelines.embedders import open_embedder

    try:
        embedder = open_embedder(settings)
        if embedder is None:
            return passed("embeddings", "off: retrieval is lexical only")
        vectors = embedder.embed(["a text to try the model with"])
    except Exception as ex:
        remedy = (
            "install again: pip install --force-reinstall wordllama"
            if settings.embedding_model is None
            else f"set {variable('embedding_model')} to a model that is here (docs/embeddings.md), or leave it unset"
        )
        return failed("embeddings", f"{type(ex).__name__}: {ex}", remedy)
    return passed("embeddings", f"{embedder.model}, {vectors.shape[1]} dimensions")


def _compiler(settings: Settings) -> Check:
    """Whether what the compiler needs is installed. Nobody is called: that would cost money."""
    if settings.compiler_type != "llm":
        return passed("compiler", settings.compiler_type)
    from pipelines.providers import adapter

    if not adapter.is_installed():
        return failed("compiler", "llm, without litellm", "install the extra: pip install 'statewave-server[llm]'")
    return passed("compiler", f"llm: {', '.join(settings.compile_models)}")
