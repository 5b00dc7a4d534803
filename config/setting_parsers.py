"""How the text of a variable becomes a setting's value. Each raises `ValueError` with what would be accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from ipaddress import ip_network
from typing import TypeVar, cast

from config import webhooks

_Number = TypeVar("_Number", int, float)

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", re.IGNORECASE)
_SENTRY_DSN = re.compile(r"https?://[^@/\s]+@[^/\s]+/(?:\S*/)?\d+")


def text(value: str) -> str:
    return value


def optional_text(value: str) -> str | None:
    return value or None


def boolean(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("use true or false")


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    return _between(int, minimum, maximum, f"use a whole number from {minimum} to {maximum}")


def seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    return _between(float, minimum, maximum, f"use seconds from {minimum} to {maximum}")


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    return _between(float, minimum, maximum, f"use a number from {minimum:g} to {maximum:g}")


def _between(
    convert: Callable[[str], _Number], minimum: float, maximum: float, remedy: str
) -> Callable[[str], _Number]:
    def parse(value: str) -> _Number:
        try:
            parsed = convert(value)
        except ValueError:
            raise ValueError(remedy) from None
        if not minimum <= parsed <= maximum:
            raise ValueError(remedy)
        return parsed

    return parse


def optional_seconds(minimum: float, maximum: float) -> Callable[[str], float | None]:
    parse = seconds(minimum, maximum)
    return lambda value: parse(value) if value.strip() else None


def optional_integer(minimum: int, maximum: int) -> Callable[[str], int | None]:
    parse = integer(minimum, maximum)
    return lambda value: parse(value) if value.strip() else None


def optional_amount(maximum: int) -> Callable[[str], Decimal | None]:
    """A sum of money, exact; empty is none."""

    def parse(value: str) -> Decimal | None:
        if not value.strip():
            return None
        try:
            amount = Decimal(value.strip())
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or not 0 <= amount <= maximum:
            raise ValueError(f"use an amount from 0 to {maximum}, such as 2.50")
        return amount

    return parse


def choice(*options: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in options:
            raise ValueError(f"use one of {', '.join(options)}")
        return value

    return parse


def text_list(value: str) -> tuple[str, ...]:
    """A JSON list of strings, or the same separated by commas."""
    stripped = value.strip()
    if not stripped.startswith("["):
        return tuple(part.strip() for part in stripped.split(",") if part.strip())
    try:
        items = json.loads(stripped)
    except ValueError:
        raise ValueError('use a JSON list such as ["https://app.example.com"]') from None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("use a JSON list of strings")
    return tuple(items)


def header_name(value: str) -> str:
    # Servers drop headers with an underscore, which CGI cannot tell from a hyphen.
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("use letters, digits and hyphens, such as X-Tenant-ID")
    return value


def origins(value: str) -> tuple[str, ...]:
    """What browsers send as `Origin` (https://fetch.spec.whatwg.org/#origin-header), or `*`."""
    entries = text_list(value)
    for entry in entries:
        if entry not in ("*", "null") and not _ORIGIN.fullmatch(entry):
            raise ValueError(f"{entry!r} is no origin such as https://app.example.com, which ends before any slash")
    return entries


def network_list(value: str) -> tuple[str, ...]:
    """Addresses and networks, separated by commas or as a JSON list."""
    entries = text_list(value)
    for entry in entries:
        try:
            ip_network(entry)
        except ValueError:
            raise ValueError(f"{entry!r} is not an address or a network such as 10.0.0.0/8") from None
    return entries


def days_by_kind(value: str) -> Mapping[str, int]:
    """A JSON object from memory kind to whole days, such as `{"episode_summary": 90}`."""
    if not value.strip():
        return {}
    remedy = 'use a JSON object of kind to positive whole days, such as {"episode_summary": 90}'
    try:
        mapping = json.loads(value)
    except ValueError:
        raise ValueError(remedy) from None
    if not isinstance(mapping, dict):
        raise ValueError(remedy)
    for kind, days in mapping.items():
        if not isinstance(days, int) or isinstance(days, bool) or days < 1:
            raise ValueError(f"{kind!r}: {remedy}")
    return cast(Mapping[str, int], mapping)


def database_url(value: str) -> str | None:
    """A libpq URL. The form with a SQLAlchemy driver suffix, which existing deployments carry, is accepted."""
    if not value:
        return None
    scheme, separator, rest = value.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise ValueError("use postgresql://user:password@host:5432/database")
    return f"postgresql://{rest}"


def redis_url(value: str) -> str | None:
    if not value:
        return None
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("use redis://host:6379/0, rediss:// or unix://")
    return value


def sentry_dsn(value: str) -> str | None:
    if value and not _SENTRY_DSN.fullmatch(value):
        raise ValueError("use the DSN that Sentry shows for the project, such as https://key@host/42")
    return value or None


def webhook_url(value: str) -> str | None:
    if value:
        webhooks.split_url(value)
    return value or None


def webhook_events(value: str) -> tuple[str, ...]:
    return webhooks.check_events(text_list(value))


def webhook_secrets(value: str) -> tuple[str, ...]:
    """One secret, or several while they are being changed."""
    secrets = text_list(value)
    for secret in secrets:
        webhooks.secret_key(secret)
    return secrets


def region(value: str) -> str | None:
    """Compared letter by letter with the regions that tenants are pinned to."""
    if len(value) > 64 or (value and not value.isprintable()):
        raise ValueError("use at most 64 printable characters, such as eu-central")
    return value or None
