"""Every failure becomes the one error envelope, here and nowhere else."""

from __future__ import annotations

import traceback

import falcon
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from api.operations import encode
from api.request import ApiRequest
from api.schemas.service import ErrorEnvelope, ErrorInfo, Problem
from config.errors import StatewaveError, Unavailable

log = structlog.get_logger()

#: Seconds after which a client should try again when a service behind us is away (contract: core §2.5).
UNAVAILABLE_RETRY_AFTER = 5

_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def install(app: falcon.App[ApiRequest, falcon.Response]) -> None:
    """Map exceptions to envelopes."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(falcon.HTTPError, _of_framework)
    # Pool timeouts, statement timeouts and deadlocks are operational errors too; a connection that broke between two
    # statements is an interface error.
    app.add_error_handler(psycopg.OperationalError, _database_away)
    app.add_error_handler(psycopg.InterfaceError, _database_away)
    app.add_error_handler(StatewaveError, _of_ours)


def write(response: falcon.Response, error: StatewaveError, request_id: str) -> None:
    """Answer with an error."""
    details = [Problem(**problem) for problem in error.details] if error.details else None
    info = ErrorInfo(code=error.code, message=error.message, details=details, request_id=request_id or None)
    response.status = falcon.code_to_http_status(error.status)
    response.content_type = falcon.MEDIA_JSON
    response.data = encode(ErrorEnvelope(error=info))
    if error.status == 401:
        # RFC 9110, section 15.5.2: it must be said how to authenticate.
        response.set_header("WWW-Authenticate", 'Bearer realm="statewave"')
    retry_after = error.retry_after
    if retry_after is None and isinstance(error, Unavailable):
        retry_after = UNAVAILABLE_RETRY_AFTER
    if retry_after is not None:
        response.set_header("Retry-After", str(retry_after))


def write_database_away(response: falcon.Response, ex: psycopg.Error, request_id: str) -> None:
    """Answer that the database is away."""
    log.warning("database away", reason=type(ex).__name__, sqlstate=ex.sqlstate)
    write(response, Unavailable(_why_not(ex)), request_id)


def _why_not(ex: psycopg.Error) -> str:
    match ex:
        case psycopg.errors.DeadlockDetected() | psycopg.errors.LockNotAvailable():
            return "another request was changing the same things; try again in a moment"
        case psycopg.errors.QueryCanceled():
            return (
                "the database needed longer than STATEWAVE_STATEMENT_TIMEOUT_SECONDS; ask for less, or try again later"
            )
        case PoolTimeout():
            return "no connection to the database became free in time; try again in a moment"
    return "the database does not answer; try again in a moment"


def _of_ours(request: ApiRequest, response: falcon.Response, ex: StatewaveError, params: object) -> None:
    write(response, ex, request.context.request_id)


def _of_framework(request: ApiRequest, response: falcon.Response, ex: falcon.HTTPError, params: object) -> None:
    if ex.headers:
        response.set_headers(ex.headers)
    error = StatewaveError(_message(request, ex), code=_CODES.get(ex.status_code, "http_error"))
    error.status = ex.status_code
    write(response, error, request.context.request_id)


def _message(request: ApiRequest, ex: falcon.HTTPError) -> str:
    if ex.status_code == 404:
        hint = "; no path ends in a slash, unless an id does" if request.path.endswith("/") else ""
        return f"there is nothing at {request.path[:200]!r}{hint}"
    if ex.status_code == 405:
        return f"{request.method} is not possible here, but {dict(ex.headers or ()).get('Allow', 'nothing')}"
    return ex.description or ex.title or "the request is not acceptable"


def _database_away(request: ApiRequest, response: falcon.Response, ex: psycopg.Error, params: object) -> None:
    write_database_away(response, ex, request.context.request_id)


def _unexpected(request: ApiRequest, response: falcon.Response, ex: Exception, params: object) -> None:
    # Texts of exceptions may quote what was stored or sent: the log gets the type and where, never the words.
    log.error("unhandled exception", error=type(ex).__name__, at=_places(ex))
    write(response, StatewaveError("the server failed; the log has the request id"), request.context.request_id)


def _places(ex: Exception) -> list[str]:
    frames = traceback.extract_tb(ex.__traceback__)[-8:]
    return [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]
