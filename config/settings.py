"""Every setting of the server, read from `STATEWAVE_*` variables and validated once, at start.

`Settings` is the single list, in four parts: `config.server_settings`, `compiler_settings`, `provider_settings` and
`traffic_settings`. The README's configuration table is generated from it, and a variable that is not a field there does
nothing. A bad value never starts a process; `ConfigurationError` names every bad
variable at once with what would be accepted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import webhooks
from config.compiler_settings import CompilerSettings
from config.provider_settings import ProviderSettings
from config.server_settings import ServerSettings
from config.setting_parsers import boolean
from config.traffic_settings import TrafficSettings

PREFIX = "STATEWAVE_"


class ConfigurationError(Exception):
    """One or more variables hold values the server cannot run with."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("configuration refused:\n" + "\n".join(f"  - {problem}" for problem in problems))


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings, CompilerSettings, ProviderSettings, TrafficSettings):
    """The process's configuration: what the modules of these classes list."""


#: Every setting, part by part, as the README has them.
FIELDS: tuple[dataclasses.Field[Any], ...] = tuple(
    field for part in Settings.__bases__ for field in dataclasses.fields(part)
)


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
    for field in FIELDS:
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
