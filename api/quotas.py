"""Holding an operation against the tenant's monthly quotas."""

from __future__ import annotations

from api.operations import Call
from api.request import ApiRequest
from config.counters import RATE_LIMIT_CHECKS
from config.errors import QuotaExceeded
from pipelines.quotas import quota_standing
from pipelines.services import Services
from pipelines.tenant_config import Quota


def require_quota(services: Services, request: ApiRequest, meter: Quota, quantity: int = 1) -> None:
    """Let the request use so much of a meter; the answer's headers say what remains.

    Raises:
        QuotaExceeded: when that is more than the month has left.
    """
    context = request.context
    standing = quota_standing(services, context.tenant_id, meter)
    if standing is None:
        return
    try:
        context.quotas.append(standing.after(quantity))
    except QuotaExceeded:
        context.quotas.append(standing)
        RATE_LIMIT_CHECKS.labels("quota", "refused").inc()
        raise
    RATE_LIMIT_CHECKS.labels("quota", "allowed").inc()


def require_delivery(call: Call) -> None:
    """Let the request deliver context. How many tokens that will be shows later, so the last one may exceed its quota.

    Raises:
        QuotaExceeded: when the month has none left.
    """
    require_quota(call.services, call.request, "contexts")
    require_quota(call.services, call.request, "tokens_delivered")


def count_delivery(call: Call, tokens: int) -> None:
    """Take note of context that was delivered."""
    call.services.usage.count(call.tenant_id, "contexts")
    call.services.usage.count(call.tenant_id, "tokens_delivered", tokens)
