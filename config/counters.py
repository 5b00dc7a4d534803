"""The metrics themselves (`config.metrics` lists them). Imported only by processes that serve them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

#: Seconds. Requests take milliseconds; stages take up to minutes.
_REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_RUN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

HTTP_REQUESTS = Counter("statewave_http_requests", "Requests answered", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "statewave_http_request_seconds", "Seconds until the answer", ["method", "route"], buckets=_REQUEST_BUCKETS
)
RUN_WAIT = Histogram(
    "statewave_run_wait_seconds", "Seconds from due to claimed", ["queue", "kind", "stage"], buckets=_RUN_BUCKETS
)
RUN_SECONDS = Histogram(
    "statewave_run_stage_seconds", "Seconds of work on a stage", ["queue", "kind", "stage"], buckets=_RUN_BUCKETS
)
RUN_STAGES = Counter("statewave_run_stages", "Stages done", ["queue", "kind", "stage", "outcome"])
POOL_CONNECTIONS = Gauge(
    "statewave_pool_connections", "Database connections of the pool", ["state"], multiprocess_mode="livesum"
)
POOL_WAITING = Gauge(
    "statewave_pool_requests_waiting", "Threads that wait for a connection", multiprocess_mode="livesum"
)
RATE_LIMIT_CHECKS = Counter("statewave_rate_limit_checks", "Requests held against a limit", ["kind", "outcome"])
