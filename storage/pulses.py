"""Signs of life: files that processes touch while they are well, for probes that look from outside.

A file per process, `<data_dir>/pulses/<part>-<pid>`; only its time of change counts. Files need neither a port nor
Redis, so an outage of a service does not make an orchestrator restart processes that are only waiting for it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

log = structlog.get_logger()

#: Seconds between beats of a process that is well.
BEAT_SECONDS = 5.0


def pulse_file(data_dir: Path, part: str) -> Path:
    """The file of this process."""
    return data_dir / "pulses" / f"{part}-{os.getpid()}"


def beat(data_dir: Path, part: str) -> None:
    """Say that this process is well, now. Where nothing can be written the work goes on, and a probe will tell."""
    path = pulse_file(data_dir, part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as ex:
        log.warning("no sign of life could be written", reason=str(ex))


def end(data_dir: Path, part: str) -> None:
    """Take this process's file away: it leaves on purpose."""
    pulse_file(data_dir, part).unlink(missing_ok=True)


def forget_all(data_dir: Path, part: str) -> None:
    """Take away what earlier processes left, which a killed one cannot do. Running ones write theirs again."""
    for path in _files(data_dir, part):
        path.unlink(missing_ok=True)


def ages(data_dir: Path, part: str) -> dict[str, float]:
    """Seconds since the last beat of every process of this part, by file name."""
    now = time.time()
    found = {}
    for path in _files(data_dir, part):
        with contextlib.suppress(FileNotFoundError):  # it left this moment
            found[path.name] = max(0.0, now - path.stat().st_mtime)
    return found


def _files(data_dir: Path, part: str) -> Iterator[Path]:
    yield from sorted((data_dir / "pulses").glob(f"{part}-*"))
