"""Counts and times requests by route."""

from __future__ import annotations

import time
from functools import lru_cache

import falcon
from prometheus_client import Counter, Histogram

from api.request import ApiRequest
from config.counters import HTTP_REQUESTS, HTTP_SECONDS, POOL_CONNECTIONS, POOL_WAITING
from storage.transactions import Pool

#: Seconds between looks at the pool.
POOL_LOOK_SECONDS = 1.0

#: Route of what matches none: paths that somebody makes up must not become labels.
NO_ROUTE = "-"


# PERF: finding a metric by its labels takes as long as all else that is done here.
@lru_cache(maxsize=2048)
def _metrics(method: str, route: str, status: str) -> tuple[Counter, Histogram]:
    return HTTP_REQUESTS.labels(method, route, status), HTTP_SECONDS.labels(method, route)


class Measuring:
    """Outermost, so that it times everything else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._looked = 0.0

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        request.env["statewave.began"] = time.perf_counter()

    def process_response(
        self, request: ApiRequest, response: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        now = time.perf_counter()
        route = request.uri_template or NO_ROUTE
        status = response.status[:3] if isinstance(response.status, str) else str(int(response.status))
        counter, histogram = _metrics(request.method, route, status)
        counter.inc()
        histogram.observe(now - request.env.get("statewave.began", now))
        if now - self._looked > POOL_LOOK_SECONDS:
            self._looked = now
            self._look_at_pool()

    def _look_at_pool(self) -> None:
        stats = self._pool.get_stats()
        idle = stats.get("pool_available", 0)
        POOL_CONNECTIONS.labels("idle").set(idle)
        POOL_CONNECTIONS.labels("used").set(stats.get("pool_size", 0) - idle)
        POOL_WAITING.set(stats.get("requests_waiting", 0))
