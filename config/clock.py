"""The one place that asks what time it is."""

from __future__ import annotations

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Now, with its time zone, in UTC."""
    return datetime.now(UTC)
