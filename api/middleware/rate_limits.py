"""Limits of requests a minute per client address, API key and tenant, and the month's quota of requests.

What remains is said in the headers of every answer that was held against a limit: `RateLimit-Policy` and `RateLimit`
(draft-ietf-httpapi-ratelimit-headers-10) name all limits, `RateLimit-Limit`, `-Remaining` and `-Reset` (draft 03 of
the same, which more clients know) the one with the least room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from ipaddress import ip_network

import falcon

from api import errors
from api.client_address import client_address
from api.middleware.access import OPERATOR_PATHS
from api.quotas import require_quota
from api.request import ApiRequest
from config.counters import RATE_LIMIT_CHECKS
from config.errors import RateLimited
from pipelines.quotas import QuotaStanding
from pipelines.rate_limits.buckets import MICROSECONDS, WINDOW_SECONDS, Bucket, Kind, Standing
from pipelines.rate_limits.limiter import RateLimiter
from pipelines.services import Services

_WHOSE: dict[Kind, str] = {"ip": "from one address", "key": "with one key", "tenant": "of one tenant"}


class RateLimits:
    """After access was granted: who asks is known then, and one round trip tells about all limits."""

    def __init__(self, services: Services, limiter: RateLimiter, *, exempt: Set[str], public_paths: Set[str]) -> None:
        """`exempt` are probes, which are never limited; `public_paths` belong to no tenant."""
        settings = services.settings
        self._services = services
        self._limiter = limiter
        self._exempt = exempt
        self._public_paths = public_paths
        self._ip_rpm, self._key_rpm = settings.rate_limit_rpm, settings.rate_limit_key_rpm
        self._tenant_rpm = settings.rate_limit_tenant_rpm
        self._proxies = tuple(ip_network(proxy) for proxy in settings.trusted_proxies)

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        if request.path in self._exempt:
            return
        of_tenant = request.path not in self._public_paths and not request.path.startswith(OPERATOR_PATHS)
        self._take(request, [*self._of_address(request), *self._of_key(request), *self._of_tenant(request, of_tenant)])
        if of_tenant:
            require_quota(self._services, request, "requests")
            self._services.usage.count(request.context.tenant_id, "requests")

    def process_response(
        self, request: ApiRequest, response: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        context = request.context
        # Who was refused at the door never came to the limits: guessing keys counts for the address.
        if self._ip_rpm and context.rate_limits is None and _is_error(response) and request.path not in self._exempt:
            try:
                self._take(request, self._of_address(request))
            except RateLimited as ex:
                errors.write(response, ex, context.request_id)
        _describe(response, context.rate_limits or (), context.quotas)

    def _take(self, request: ApiRequest, buckets: Sequence[Bucket]) -> None:
        if not buckets:
            return
        standings = self._limiter.take(buckets)
        if standings is None:
            request.context.rate_limits = ()
            for bucket in buckets:
                RATE_LIMIT_CHECKS.labels(bucket.kind, "failed_open").inc()
            return
        request.context.rate_limits = standings
        refused = [standing for standing in standings if standing.is_refused]
        for standing in refused or standings:
            RATE_LIMIT_CHECKS.labels(standing.bucket.kind, "refused" if refused else "allowed").inc()
        if refused:
            raise _too_many(max(refused, key=lambda standing: standing.wait))

    def _of_address(self, request: ApiRequest) -> list[Bucket]:
        if not self._ip_rpm:
            return []
        address = client_address(
            request.env.get("REMOTE_ADDR", ""),
            forwarded_for=request.get_header("X-Forwarded-For"),
            forwarded=request.get_header("Forwarded"),
            trusted=self._proxies,
        )
        return [Bucket("ip", address, self._ip_rpm)]

    def _of_key(self, request: ApiRequest) -> list[Bucket]:
        principal = request.context.principal
        if not self._key_rpm or principal.kind == "anonymous":
            return []
        return [Bucket("key", f"{principal.tenant_id or ''}:{principal.name}", self._key_rpm)]

    def _of_tenant(self, request: ApiRequest, of_tenant: bool) -> list[Bucket]:
        if not of_tenant:
            return []
        tenant_id = request.context.tenant_id
        own = self._services.tenant_limits.of(self._services.pool, tenant_id).config.rate_limit_rpm
        per_minute = self._tenant_rpm if own is None else own
        return [Bucket("tenant", tenant_id, per_minute)] if per_minute else []


def _too_many(standing: Standing) -> RateLimited:
    seconds = _seconds(standing.wait)
    bucket = standing.bucket
    return RateLimited(
        f"at most {bucket.per_minute} requests a minute {_WHOSE[bucket.kind]}; try again in {seconds} s",
        retry_after=seconds,
    )


def _describe(response: falcon.Response, standings: Sequence[Standing], quotas: Sequence[QuotaStanding]) -> None:
    policies, states = [], []
    for standing in standings:
        bucket = standing.bucket
        policies.append(f'"{bucket.kind}";q={bucket.per_minute};w={WINDOW_SECONDS}')
        states.append(f'"{bucket.kind}";r={standing.remaining};t={_seconds(standing.full_in)}')
    for quota in quotas:
        policies.append(f'"monthly_{quota.meter}";q={quota.limit};w={quota.month_seconds}')
        states.append(f'"monthly_{quota.meter}";r={quota.remaining};t={quota.resets_in}')
    if not policies:
        return
    response.set_header("RateLimit-Policy", ", ".join(policies))
    response.set_header("RateLimit", ", ".join(states))
    if standings:
        tightest = min(standings, key=lambda standing: (standing.remaining, -standing.full_in))
        response.set_header("RateLimit-Limit", str(tightest.bucket.per_minute))
        response.set_header("RateLimit-Remaining", str(tightest.remaining))
        response.set_header("RateLimit-Reset", str(_seconds(tightest.full_in)))
    near = [f"{quota.meter}={quota.used}/{quota.limit}" for quota in quotas if quota.is_near]
    if near:
        response.set_header("X-Quota-Warning", ", ".join(near))


def _is_error(response: falcon.Response) -> bool:
    return str(response.status)[:1] in "45"


def _seconds(microseconds: int) -> int:
    return math.ceil(microseconds / MICROSECONDS)
