"""`/metrics` for Prometheus. It asks for the API key like any other path, where one is set."""

from __future__ import annotations

import falcon
from prometheus_client import CONTENT_TYPE_LATEST

from api.request import ApiRequest
from pipelines.queue_metrics import exposition
from storage.transactions import Pool

PATH = "/metrics"


class Metrics:
    """Everything the processes of this API count, and what the queues hold."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def on_get(self, request: ApiRequest, response: falcon.Response) -> None:
        response.content_type = CONTENT_TYPE_LATEST
        response.data = exposition(self._pool)
