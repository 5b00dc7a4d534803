"""How many deliveries one process makes at a time, so that a slow receiver leaves threads for everything else."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from uuid import UUID


class Lanes:
    """Counts the deliveries that are under way, in all and by endpoint.

    One endpoint gets half of the process's threads, all endpoints together all but one: the same threads may be
    compiling memories.
    """

    def __init__(self, threads: int) -> None:
        self._most = max(1, threads - 1)
        self._most_per_endpoint = max(1, threads // 2)
        self._busy: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def entered(self, endpoint_id: UUID) -> Iterator[bool]:
        """Whether there is room for another delivery to the endpoint; if so it is taken inside the block."""
        with self._lock:
            free = self._busy.total() < self._most and self._busy[endpoint_id] < self._most_per_endpoint
            if free:
                self._busy[endpoint_id] += 1
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._busy[endpoint_id] -= 1
                    if not self._busy[endpoint_id]:
                        del self._busy[endpoint_id]
