"""What all tests share. The fixtures live in `tests/fixtures`, one module per subject."""

from __future__ import annotations

pytest_plugins = [
    "tests.fixtures.environment",
    "tests.fixtures.servers",
    "tests.fixtures.databases",
    "tests.fixtures.desk",
    "tests.fixtures.faults",
    "tests.fixtures.provider",
    "tests.fixtures.receiver",
    "tests.fixtures.services",
    "tests.fixtures.stack",
]
