"""What LiteLLM raises, read as a `ProviderFailure`.

Only statuses, headers and the provider's short error code are looked at, never the text, which quotes prompts. Class
names are compared instead of classes, so that nothing here needs LiteLLM.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.providers.calls import ProviderFailure, Reason

#: Longest wait that a provider is believed.
MOST_RETRY_AFTER = 3600.0

_BY_CLASS: Mapping[str, Reason] = {
    "Timeout": "timeout",
    "APITimeoutError": "timeout",
    "RateLimitError": "rate_limited",
    "AuthenticationError": "authentication",
    "PermissionDeniedError": "authentication",
    "NotFoundError": "not_found",
    "ContextWindowExceededError": "context_window",
    "ContentPolicyViolationError": "content_policy",
    "PaymentRequiredError": "out_of_credit",
    "ServiceUnavailableError": "unavailable",
    "BadGatewayError": "unavailable",
    "UnsupportedParamsError": "refused",
    "APIResponseValidationError": "bad_response",
}

_BY_STATUS: Mapping[int, Reason] = {
    401: "authentication",
    402: "out_of_credit",
    403: "authentication",
    404: "not_found",
    408: "timeout",
    413: "context_window",
    429: "rate_limited",
    504: "timeout",
}

#: Codes of OpenAI's interface, which others copy, that say more than their status.
_BY_CODE: Mapping[str, Reason] = {
    "context_length_exceeded": "context_window",
    "content_policy_violation": "content_policy",
    "content_filter": "content_policy",
    "insufficient_quota": "out_of_credit",
    "invalid_api_key": "authentication",
    "model_not_found": "not_found",
}

_CODE = re.compile(r"[a-z][a-z0-9_.-]{1,63}")


def failure_of(ex: Exception, model: str) -> ProviderFailure:
    """Read what LiteLLM raised for a call to the model."""
    if isinstance(ex, ProviderFailure):
        return ex
    headers = _headers(ex)
    status = _status(ex) if headers else None
    code = _code(ex)
    return ProviderFailure(
        _reason(ex, status, code, answered=bool(headers)),
        model=model,
        status=status,
        retry_after=retry_after(headers),
        code=code if status is not None else None,
    )


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that an answer asks to wait, by Retry-After (RFC 9110, 10.2.3) or OpenAI's `retry-after-ms`."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            date = email.utils.parsedate_tz(value)
            if date is None:
                continue
            seconds = email.utils.mktime_tz(date) - (time.time() if now is None else now)
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), MOST_RETRY_AFTER)
    return None


def _reason(ex: Exception, status: int | None, code: str | None, *, answered: bool) -> Reason:
    if code is not None and code in _BY_CODE:
        return _BY_CODE[code]
    for kind in type(ex).__mro__:
        if kind.__name__ in _BY_CLASS:
            return _BY_CLASS[kind.__name__]
    if status is not None and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and 400 <= status < 500:
        return "refused"
    if status is not None and status >= 500:
        return "unavailable"
    if any(kind.__name__ == "BadRequestError" for kind in type(ex).__mro__):
        return "refused"  # LiteLLM itself refused, before anything was sent.
    # LiteLLM says 500 for what never became an answer: no connection, one that broke, a body that is none.
    broken = any("connect" in type(cause).__name__.lower() for cause in _causes(ex)) and not answered
    return "unreachable" if broken else "bad_response"


def _status(ex: Exception) -> int | None:
    status = getattr(ex, "status_code", None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _code(ex: Exception) -> str | None:
    for cause in _causes(ex):
        for value in (getattr(cause, "code", None), _in_body(getattr(cause, "body", None))):
            if isinstance(value, str) and _CODE.fullmatch(value):
                return value
    return None


def _in_body(body: Any) -> Any:
    inner = body.get("error", body) if isinstance(body, dict) else None
    return (inner.get("code") or inner.get("type")) if isinstance(inner, dict) else None


def _headers(ex: Exception) -> Mapping[str, str]:
    """The answer's headers, by lower-case name; empty when there was none."""
    for cause in _causes(ex):
        for found in (
            getattr(cause, "litellm_response_headers", None),
            getattr(getattr(cause, "response", None), "headers", None),
            getattr(cause, "headers", None),
        ):
            if found:
                return {str(name).lower(): str(value) for name, value in dict(found).items()}
    return {}


def _causes(ex: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = ex
    while following is not None and id(following) not in seen and len(seen) < 12:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
