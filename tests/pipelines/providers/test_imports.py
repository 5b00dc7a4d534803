"""Who loads LiteLLM: a process that calls a provider, when it does, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

#: LiteLLM and what it brings. None of it is small.
HEAVY = ("litellm", "openai", "httpx", "aiohttp", "tiktoken", "boto3", "jinja2", "pydantic", "huggingface_hub")

#: Workers' modules need the broker with its middleware, which `actors.main` sets.
EVERY_MODULE = ["actors.main"] + [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("api", "actors", "pipelines", "storage", "config", "cli")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.stem not in ("__init__", "__main__", "wsgi", "gunicorn")
]


def loaded_after(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded once it ran the code."""
    report = f"\nimport sys\nprint('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    environ = {"STATEWAVE_REDIS_URL": "redis://127.0.0.1:9", "STATEWAVE_ENV_FILE": os.devnull}
    done = subprocess.run(
        [sys.executable, "-c", code + report], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_importing_every_module_of_the_project_loads_no_provider_library() -> None:
    assert loaded_after("\n".join(f"import {module}" for module in EVERY_MODULE)) == set()


def test_the_adapter_loads_it_when_it_is_told_to() -> None:
    assert "litellm" in loaded_after("from pipelines.providers import adapter; adapter.load()")
