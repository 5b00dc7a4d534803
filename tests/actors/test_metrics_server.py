"""Workers are scraped at a port of their own."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.fixtures.databases import DatabaseMaker
from tests.fixtures.stack import READY_SECONDS, free_port, start_stack


def scraped(port: int) -> str:
    """What the port answers, once it does."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_worker_serves_its_counts_and_the_queues_at_the_address_it_is_given(
    new_database: DatabaseMaker, tmp_path: Path
) -> None:
    port = free_port()
    # The API would refuse to listen there without a key.
    address = {"worker_metrics_port": str(port), "worker_metrics_host": "0.0.0.0"}
    with start_stack(new_database, tmp_path, **address):
        answer = scraped(port)
    assert 'statewave_queue_ready{queue="compile"}' in answer
    assert "statewave_database_up 1.0" in answer
