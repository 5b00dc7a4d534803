"""Percentiles and a progress bar."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

T = TypeVar("T")


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def progress(items: Sequence[T], *, label: str, stream: TextIO = sys.stderr) -> Iterator[T]:
    """Yield the items while a bar with the time left is drawn on `stream`; silent when it is no terminal."""
    started = time.monotonic()
    shown = stream.isatty()
    for done, item in enumerate(items):
        if shown:
            stream.write("\r" + bar(label, done, len(items), time.monotonic() - started))
            stream.flush()
        yield item
    if shown:
        stream.write("\r" + bar(label, len(items), len(items), time.monotonic() - started) + "\n")


def bar(label: str, done: int, total: int, elapsed: float, *, width: int = 30) -> str:
    """One line that shows how far something is and how long it will still take."""
    filled = width * done // total if total else width
    left = f"{elapsed / done * (total - done):4.0f} s left" if done else ""
    return f"{label:<28} [{'#' * filled}{'.' * (width - filled)}] {done}/{total} {left:<12}"
