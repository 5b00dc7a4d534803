"""From operations to routes. Ids may contain slashes, encoded or not, also where something follows them in the path.

Falcon lets a field take slashes only at the end of a template, so all templates that begin alike up to such a field
share one route, and what follows is matched here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import falcon

from api.operations import Handler, Operation, Resource
from api.request import ApiRequest
from pipelines.services import Services

_FIELD = re.compile(r"\{(\w+)(:path)?\}")
_FIRST_LONG_FIELD = re.compile(r"\{\w+:path\}")


def routes(operations: Sequence[Operation], services: Services) -> Iterator[tuple[str, object]]:
    """(template, resource) of every route."""
    plain: dict[str, list[Operation]] = defaultdict(list)
    long: dict[str, list[tuple[str, Operation]]] = defaultdict(list)
    for operation in operations:
        for path in (operation.path, *operation.aliases):
            field = _FIRST_LONG_FIELD.search(path)
            if field is None:
                plain[path].append(operation)
            else:
                long[path[: field.start()]].append((path, operation))
    for path, at_path in plain.items():
        yield path, Resource(at_path, services)
    for prefix, below in long.items():
        yield f"{prefix}{{rest:path}}", LongPaths(prefix, below, services)


class LongPaths:
    """All operations below a prefix whose paths go on with a field that takes slashes."""

    def __init__(self, prefix: str, operations: Sequence[tuple[str, Operation]], services: Services) -> None:
        self._prefix = prefix
        # The longest first: what says more about a path fits it better.
        ordered = sorted(operations, key=lambda item: -len(_FIELD.sub("", item[0])))
        self._handlers = [
            (operation.method, path, _pattern(path), Handler(operation, services)) for path, operation in ordered
        ]
        for method in {operation.method for _, operation in operations}:
            setattr(self, f"on_{method.lower()}", self._responder(method))
            if method == "GET":
                self.on_head = self._responder(method)

    def templates(self, method: str) -> list[str]:
        """The templates of the operations that answer to a method here."""
        return [path for own, path, _, _ in self._handlers if own == method]

    def _responder(self, method: str) -> Callable[..., None]:
        def respond(request: ApiRequest, response: falcon.Response, **fields: Any) -> None:
            self._respond(method, request, response)

        return respond

    def _respond(self, method: str, request: ApiRequest, response: falcon.Response) -> None:
        path = _sent_path(request, self._prefix)
        allowed = []
        for own, template, pattern, handler in self._handlers:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if own == method:
                request.context.route = template
                decoded = {name: unquote(value) for name, value in match.groupdict().items()}
                handler.respond(request, response, **decoded)
                return
            allowed.append(own)
        if allowed:
            raise falcon.HTTPMethodNotAllowed(sorted(set(allowed)))
        raise falcon.HTTPNotFound


def _pattern(path: str) -> re.Pattern[str]:
    """A template as an expression over the path as it was sent, in which an encoded slash is no separator."""
    parts = []
    end = 0
    for field in _FIELD.finditer(path):
        parts.append(re.escape(path[end : field.start()]))
        # Nothing at all is a name too, one that the schema refuses with its reason.
        any_text = ".*" if field.end() == len(path) else ".+"
        parts.append(f"(?P<{field[1]}>{any_text if field[2] else '[^/]+'})")
        end = field.end()
    return re.compile("".join([*parts, re.escape(path[end:])]), re.S)


def _sent_path(request: ApiRequest, prefix: str) -> str:
    """The path with its encoding, if the server keeps it; else as WSGI has it, encoded again but for its slashes."""
    raw = request.env.get("RAW_URI") or request.env.get("REQUEST_URI") or ""
    sent = raw.partition("?")[0].partition("#")[0]
    if sent.startswith(prefix):
        return str(sent)
    decoded: str = request.env.get("PATH_INFO", "")
    return decoded.encode("latin-1", "replace").decode("utf-8", "replace").replace("%", "%25")
