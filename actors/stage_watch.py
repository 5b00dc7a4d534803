"""Counts and times the stages that this process works on."""

from __future__ import annotations

import time

from config.counters import RUN_SECONDS, RUN_STAGES, RUN_WAIT
from storage.rows import Run


class StageWatch:
    """Begins with a claim and ends with the stage."""

    def __init__(self, run: Run) -> None:
        self._labels = (run.queue, run.kind, run.stage)
        self._began = time.perf_counter()
        RUN_WAIT.labels(*self._labels).observe(run.waited_seconds)

    def end(self, outcome: str) -> None:
        """The stage is over: advanced, completed, failed (and given back) or lost."""
        RUN_SECONDS.labels(*self._labels).observe(time.perf_counter() - self._began)
        RUN_STAGES.labels(*self._labels, outcome).inc()
