"""Libraries that are loaded when they are first used, and how much importing the project costs for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench.imports import ENTRY_POINTS, UNAVOIDABLE, milliseconds
from config.deferred import Deferred

ROOT = Path(__file__).parents[2]

#: What an entry point has no use for before it does anything, and takes long to load.
NOT_AT_IMPORT = {
    "api.app": ("numpy", "redis", "yaml", "cryptography", "dramatiq", "tokenizers", "sentry_sdk", "litellm"),
    "actors.main": ("numpy", "yaml", "falcon", "pendulum", "tokenizers", "sentry_sdk", "litellm"),
    "cli.main": ("numpy", "redis", "psycopg", "falcon", "dramatiq", "structlog", "yaml", "litellm"),
}

#: Times of the libraries it cannot do without that an entry point may cost. It is 1.8 when nothing else runs; a further
#: library of NumPy's size makes .4.
MOST = 3.0


def python(code: str) -> str:
    environ = {"STATEWAVE_REDIS_URL": "redis://127.0.0.1:9", "STATEWAVE_ENV_FILE": os.devnull}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_deferred_module_is_imported_at_its_first_use_and_is_a_module_like_any_other_then() -> None:
    said = python(
        "import sys\n"
        "from config.deferred import np\n"
        "print('numpy' in sys.modules)\n"
        "print(np.arange(3).sum(), 'numpy' in sys.modules, type(np).__name__)\n"
        "print(np.testing.assert_array_equal.__name__)"
    )
    assert said.split("\n") == ["False", "3 True module", "assert_array_equal"]


def test_what_the_library_does_not_have_is_missing_from_the_deferred_module_too() -> None:
    deferred = Deferred("json")
    with pytest.raises(AttributeError):
        _ = deferred.nothing_of_this_name
    assert type(deferred) is ModuleType


@pytest.mark.parametrize("entry_point", sorted(NOT_AT_IMPORT))
def test_importing_an_entry_point_loads_no_heavy_library_that_it_does_not_need(entry_point: str) -> None:
    assert (
        python(
            f"import sys\nimport {entry_point}\n"
            f"print(*[name for name in {NOT_AT_IMPORT[entry_point]!r} if name in sys.modules])"
        )
        == ""
    )


def test_importing_an_entry_point_costs_little_more_than_the_libraries_it_cannot_do_without() -> None:
    least = milliseconds(UNAVOIDABLE, interpreters=2)
    assert {name: milliseconds(name, interpreters=2) < MOST * least for name in ENTRY_POINTS} == dict.fromkeys(
        ENTRY_POINTS, True
    )
