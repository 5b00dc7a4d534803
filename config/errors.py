"""What can go wrong, as types. The API maps each to one status and the one error envelope.

StatewaveError
├── BadRequest            400  well formed, but not something that will be done
├── ValidationFailed      422  the input breaks a limit; `details` names every bad field
├── Unauthenticated       401
├── Forbidden             403
├── NotFound              404
├── Conflict              409  try again after `retry_after` seconds, or never
├── BodyTooLarge          413
├── RateLimited           429  too many requests within a minute
├── QuotaExceeded         429  as much as the tenant may use in this month
├── ModelFailed           502  the language model gave no answer
├── ModelSlow             504  the language model gave no answer in time
├── ModelMissing          503  no language model is configured
├── CompilationFailed     502  no model answered; nothing was consumed, and workers try again
└── Unavailable           503  a backing service is away
"""

from __future__ import annotations

from typing import TypedDict


class FieldProblem(TypedDict):
    """One bad field: where it is, what is wrong with it, and the kind of the problem."""

    loc: list[str | int]
    msg: str
    type: str


class StatewaveError(Exception):
    """The server could not do what was asked."""

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        details: list[FieldProblem] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.message = message or type(self).__doc__ or ""
        self.code = code or type(self).code
        self.details = details
        self.retry_after = retry_after
        super().__init__(self.message)


class BadRequest(StatewaveError):
    """This will not be done the way it was asked for."""

    status = 400
    code = "bad_request"


class ValidationFailed(StatewaveError):
    """The request is not valid."""

    status = 422
    code = "validation_error"


class Unauthenticated(StatewaveError):
    """An API key is needed: send it as X-API-Key or as a Bearer token."""

    status = 401
    code = "missing_api_key"


class Forbidden(StatewaveError):
    """The API key is not valid."""

    status = 403
    code = "invalid_api_key"


class MissingTenant(StatewaveError):
    """A tenant header is required."""

    status = 400
    code = "missing_tenant"


class NotFound(StatewaveError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class Conflict(StatewaveError):
    """Something else is being done to the same thing."""

    status = 409
    code = "conflict"


class BodyTooLarge(StatewaveError):
    """The request body is larger than the server accepts."""

    status = 413
    code = "body_too_large"


class RateLimited(StatewaveError):
    """More requests than are allowed within a minute."""

    status = 429
    code = "rate_limited"


class QuotaExceeded(StatewaveError):
    """The tenant has used as much as it may in this month."""

    status = 429
    code = "quota_exceeded"


class CompilationFailed(StatewaveError):
    """The language model could not be reached or gave no usable answer. The episodes wait and are tried again."""

    status = 502
    code = "compilation_failed"


class Unavailable(StatewaveError):
    """A service that the server depends on does not answer."""

    status = 503
    code = "service_unavailable"


class ModelFailed(StatewaveError):
    """The language model gave no answer."""

    status = 502
    code = "upstream_llm_error"


class ModelSlow(StatewaveError):
    """The language model gave no answer in time."""

    status = 504
    code = "upstream_llm_timeout"


class ModelMissing(StatewaveError):
    """No language model is configured: set STATEWAVE_LITELLM_API_KEY or STATEWAVE_LITELLM_API_BASE."""

    status = 503
    code = "llm_not_configured"
