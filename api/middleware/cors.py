"""Cross-origin requests: browsers may call from the origins that the settings name."""

from __future__ import annotations

import falcon

from api.request import ApiRequest

#: Seconds a browser may remember the answer to a preflight.
MAX_AGE = "600"

#: Headers of answers that scripts may read.
_EXPOSED = (
    "X-Request-ID, Retry-After, RateLimit, RateLimit-Policy, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset,"
    " X-Quota-Warning"
)

_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"


class Cors:
    """Answers preflights for any path before keys are asked for, and marks every other answer."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def process_request(self, request: ApiRequest, response: falcon.Response) -> None:
        is_preflight = request.method == "OPTIONS" and request.get_header("Access-Control-Request-Method")
        if not is_preflight or not self._allows(request.get_header("Origin")):
            return
        response.set_header("Access-Control-Allow-Methods", _METHODS)
        response.set_header("Access-Control-Allow-Headers", request.get_header("Access-Control-Request-Headers") or "*")
        response.set_header("Access-Control-Max-Age", MAX_AGE)
        response.status = falcon.HTTP_200
        response.complete = True

    def process_response(
        self, request: ApiRequest, response: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        origin = request.get_header("Origin")
        if origin is None or not self._allows(origin):
            return
        # With credentials a browser accepts no `*`, so the origin is named.
        response.set_header("Access-Control-Allow-Origin", origin)
        response.set_header("Access-Control-Allow-Credentials", "true")
        response.set_header("Access-Control-Expose-Headers", _EXPOSED)
        response.append_header("Vary", "Origin")

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and (self._any or origin in self._origins)
