"""A setting that would never work is refused at the start, with what would."""

from __future__ import annotations

import pytest

from config.settings import ConfigurationError, load_settings


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("TENANT_HEADER", "X-Workspace", "X-Workspace"),
        ("CORS_ORIGINS", "*", ("*",)),
        (
            "CORS_ORIGINS",
            "https://a.example.com, http://localhost:3000",
            ("https://a.example.com", "http://localhost:3000"),
        ),
        ("CORS_ORIGINS", '["chrome-extension://abc", "null"]', ("chrome-extension://abc", "null")),
        ("SENTRY_DSN", "https://0123abcd@o1.ingest.sentry.io/42", "https://0123abcd@o1.ingest.sentry.io/42"),
        ("SENTRY_DSN", "", None),
        ("STATEMENT_TIMEOUT_SECONDS", "2.5", 2.5),
        ("DEDUP_SIM_THRESHOLD", "1", 1.0),
        ("PORT", "8200", 8200),
    ],
)
def test_what_works_is_taken(variable: str, value: str, read: object) -> None:
    assert getattr(load_settings({f"STATEWAVE_{variable}": value}), variable.lower()) == read


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
        ("STATEMENT_TIMEOUT_SECONDS", "nan", "seconds from 0.1 to 3600"),
        ("PORT", "8100.0", "a whole number from 1 to 65535"),
        ("PORT", "0", "a whole number from 1 to 65535"),
    ],
)
def test_what_does_not_is_refused_with_what_would(variable: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"STATEWAVE_{variable}: .*{told}"):
        load_settings({f"STATEWAVE_{variable}": value})
