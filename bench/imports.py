"""What importing the project costs: processor time of fresh interpreters, of which the fastest counts.

python -m bench.imports
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What runs the API, the workers and the commands.
ENTRY_POINTS = ("api.app", "actors.main", "cli.main")

#: Libraries that every process but the small commands begins with.
UNAVOIDABLE = "falcon, psycopg, structlog"

#: The aim, on the machine that the figures in docs/performance.md are from.
_MOST_MILLISECONDS = 300


def main() -> int:
    """Print a line for each entry point."""
    print(f"import {UNAVOIDABLE:<32} {milliseconds(UNAVOIDABLE):4.0f} ms of processor time")
    for entry_point in ENTRY_POINTS:
        print(f"import {entry_point:<32} {milliseconds(entry_point):4.0f} ms (aim: at most {_MOST_MILLISECONDS})")
    return 0


def milliseconds(modules: str, *, interpreters: int = 5) -> float:
    """Processor time that importing modules takes, with their bytecode on disk as installations have it."""
    code = f"import time\nbegan = time.process_time()\nimport {modules}\nprint((time.process_time() - began) * 1000)"
    environ = {"STATEWAVE_REDIS_URL": "redis://127.0.0.1:9", "STATEWAVE_ENV_FILE": os.devnull}
    # The first interpreter writes bytecode, and may do so whatever the variables of whoever measures say.
    taken = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(1 + interpreters)
    ]
    return min(taken[1:])


if __name__ == "__main__":
    sys.exit(main())
