"""The request as this server sees it: Falcon's, with a typed context."""

from __future__ import annotations

from collections.abc import Sequence

import falcon

from pipelines.principal import ANONYMOUS, Principal
from pipelines.quotas import QuotaStanding
from pipelines.rate_limits.buckets import Standing


class RequestContext:
    """What the middleware finds out about a request before its operation runs."""

    __slots__ = ("principal", "quotas", "rate_limits", "request_id", "route", "started", "tenant_id")

    def __init__(self) -> None:
        self.request_id = ""
        self.tenant_id = ""
        self.principal: Principal = ANONYMOUS
        #: How the limits stand that the request was held against; None when it was held against none.
        self.rate_limits: Sequence[Standing] | None = None
        self.quotas: list[QuotaStanding] = []
        #: The template of the operation, where it is not that of the route.
        self.route = ""
        #: `time.perf_counter()` when the request arrived.
        self.started = 0.0


class ApiRequest(falcon.Request):
    """A request that carries a `RequestContext`."""

    __slots__ = ()

    context_type = RequestContext
    context: RequestContext  # type: ignore[assignment]
