"""Every metric that processes count themselves. What queues hold is read from the database instead
(`pipelines.queue_metrics`), where it is the same for all.

| metric | labels | meaning |
|---|---|---|
| `statewave_http_requests_total` | method, route, status | requests answered |
| `statewave_http_request_seconds` | method, route | time until the answer |
| `statewave_run_wait_seconds` | queue, kind, stage | from due to claimed |
| `statewave_run_stage_seconds` | queue, kind, stage | from claimed to the end of the stage |
| `statewave_run_stages_total` | queue, kind, stage, outcome | stages: advanced, completed, postponed, failed, lost |
| `statewave_pool_connections` | state | database connections of the process's pool: used, idle |
| `statewave_pool_requests_waiting` | | threads that wait for a connection |
| `statewave_rate_limit_checks_total` | kind, outcome | ip, key, tenant, quota; allowed, refused, failed_open |

There are no tenants, subjects or ids among the labels: they would have no bound, and name people.

Several processes count together through files in the folder that `PROMETHEUS_MULTIPROC_DIR` names; it must be set
before this module is imported (`share_metrics`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_PREFIX = "statewave-metrics-"


def share_metrics() -> Path:
    """Let this process and those it forks count together, from zero. Call it before the first import of a metric."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        memory = Path("/dev/shm")
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=memory if os.access(memory, os.W_OK) else None)
        os.environ[VARIABLE] = folder
    else:
        # Figures of processes that ended long ago would be added up for ever.
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def forget_metrics() -> None:
    """Remove the folder that `share_metrics` made."""
    folder = os.environ.get(VARIABLE, "")
    if Path(folder).name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
