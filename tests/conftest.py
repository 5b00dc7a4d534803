"""What all tests share. The fixtures live in `tests/fixtures`, one module per subject."""

from __future__ import annotations

import hypothesis

# How long an example takes says nothing on a machine that is busy with other things.
hypothesis.settings.register_profile("on any machine", hypothesis.settings(deadline=None))
hypothesis.settings.load_profile("on any machine")

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
