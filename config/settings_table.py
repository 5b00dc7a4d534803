"""The settings as a table for people: the README's, and that of `statewave config`."""

from __future__ import annotations

from typing import Any

from config.settings import FIELDS, Settings, variable

#: Values of these are secrets: a table says only whether they are set.
SECRETS = frozenset(
    {
        *("api_key", "database_url", "litellm_api_key", "receipt_ed25519_keys", "receipt_signing_keys", "redis_url"),
        *("sentry_dsn", "webhook_secret", "webhook_url"),
    }
)


def markdown() -> str:
    """Every variable with its default and meaning, as a Markdown table."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    defaults = Settings()
    for field in FIELDS:
        meaning = field.metadata["doc"].replace("|", "\\|")
        lines.append(f"| `{variable(field.name)}` | {_shown(getattr(defaults, field.name))} | {meaning} |")
    return "\n".join(lines) + "\n"


def current(settings: Settings) -> list[tuple[str, str, bool]]:
    """Variable, value as it is shown, and whether it differs from the default, in the order of the table."""
    rows = []
    defaults = Settings()
    for field in FIELDS:
        value = getattr(settings, field.name)
        hidden = field.name in SECRETS and bool(value)
        changed = value != getattr(defaults, field.name)
        rows.append((variable(field.name), "(set)" if hidden else _plain(value), changed))
    return rows


def _shown(value: Any) -> str:
    text = _plain(value)
    return f"`{text}`" if text else "unset"


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {item}' for key, item in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
