"""The processes of a stack and their memory, as `ps` tells it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

#: What a child of `statewave up` is, by what its command line contains.
PARTS: dict[str, Callable[[str], bool]] = {
    "API": lambda command: "gunicorn" in command,
    "worker": lambda command: "cli.main worker" in command,
    "scheduler": lambda command: "cli.main scheduler" in command,
    "Postgres": lambda command: "postgres" in command,
    "Redis": lambda command: "redis-server" in command,
}


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a part; `rss_mb` is its resident memory, shared pages included."""

    part: str
    pid: int
    rss_mb: float


def stack_processes(supervisor_pid: int) -> list[Process]:
    """Every process below the supervisor that belongs to a known part, largest first within its part."""
    rows = _rows()
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in rows.items():
        children.setdefault(parent, []).append(pid)
    found = []
    for top in children.get(supervisor_pid, []):
        part = next((name for name, matches in PARTS.items() if matches(rows[top][2])), None)
        if part is not None:
            found += [Process(part, pid, rows[pid][1] / 1024) for pid in _descendants(top, children)]
    return sorted(found, key=lambda process: (list(PARTS).index(process.part), -process.rss_mb))


def _rows() -> dict[int, tuple[int, int, str]]:
    """Parent, resident kilobytes and command line of every process, by its id."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss=,args=", "-ww"], capture_output=True, text=True, check=True
    ).stdout
    rows = {}
    for line in listing.splitlines():
        pid, parent, rss, *command = line.split(None, 3)
        rows[int(pid)] = (int(parent), int(rss), command[0] if command else "")
    return rows


def _descendants(pid: int, children: dict[int, list[int]]) -> list[int]:
    return [pid, *(below for child in children.get(pid, []) for below in _descendants(child, children))]
