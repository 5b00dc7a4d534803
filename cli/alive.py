"""`statewave alive`: whether a part of the server lives in this container, for liveness probes.

Alive means that restarting it would not help: a part that waits for its database or for Redis is alive. Whether it can
serve is another question, which `/readyz` answers.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from pathlib import Path

from config.settings import Settings, load_settings

#: Seconds without a beat after which a process counts as hung. The scheduler beats once a minute.
LONGEST_SILENCE = 150.0

#: Seconds that the API gets to answer.
ANSWER_SECONDS = 5.0

PARTS = ("api", "worker", "scheduler")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", choices=PARTS, help="what to look for")
    parser.add_argument(
        "--longest-silence",
        type=float,
        default=LONGEST_SILENCE,
        metavar="SECONDS",
        help="age of the last sign of life that is still well (default: %(default)s; not used for the api)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Look once; 0 when it is alive, else 1 with the reason on standard error."""
    settings = load_settings()
    if arguments.part == "api":
        complaint = _api(settings)
    else:
        complaint = _process(settings, arguments.part, arguments.longest_silence)
    if complaint is not None:
        print(f"statewave alive: {complaint}", file=sys.stderr)
        return 1
    return 0


def _api(settings: Settings) -> str | None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError as ex:
        return f"{url} answers {ex.code}"
    except OSError as ex:
        return f"{url} does not answer ({ex})"


def _process(settings: Settings, part: str, longest_silence: float) -> str | None:
    from storage.pulses import ages

    found = ages(Path(settings.data_dir), part)
    if not found:
        return f"no {part} has given a sign of life in {settings.data_dir}"
    silent = [f"{name} for {age:.0f} s" for name, age in found.items() if age > longest_silence]
    return f"silent: {', '.join(silent)}" if silent else None
