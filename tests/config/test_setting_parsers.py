"""A setting that would never work is refused at the start, with what would."""

from __future__ import annotations

import pytest

from config.settings import ConfigurationError, load_settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TENANT_HEADER", "X-Workspace"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://app.example.com, http://localhost:3000, null"),
        ("CORS_ORIGINS", '["chrome-extension://abc"]'),
        ("SENTRY_DSN", "https://0123abcd@o1.ingest.sentry.io/42"),
        ("SENTRY_DSN", ""),
    ],
)
def test_what_works_is_taken(variable: str, value: str) -> None:
    load_settings({f"STATEWAVE_{variable}": value})


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TENANT_HEADER", "X Tenant", "X-Tenant-ID"),
        # gunicorn drops it: CGI could not tell it from X-Tenant-ID.
        ("TENANT_HEADER", "X_Tenant_ID", "hyphens"),
        ("TENANT_HEADER", "", "X-Tenant-ID"),
        ("CORS_ORIGINS", "https://app.example.com/", "before any slash"),
        ("CORS_ORIGINS", "app.example.com", "https://app.example.com"),
        ("SENTRY_DSN", "https://o1.ingest.sentry.io/42", "https://key@host/42"),
    ],
)
def test_what_does_not_is_refused_with_what_would(variable: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"STATEWAVE_{variable}: .*{told}"):
        load_settings({f"STATEWAVE_{variable}": value})
