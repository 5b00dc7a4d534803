"""Operations: one declaration each, from which routing, validation and the OpenAPI document come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import falcon
import msgspec

from api.inputs import JsonInput, TextInput, body_bytes, path_fields, query_pairs
from api.request import ApiRequest
from pipelines.services import Services


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation: the process's services and the request's parts, all of them valid."""

    services: Services
    request: ApiRequest
    body: Any = None
    query: Any = None
    path: Any = None
    headers: Any = None

    @property
    def tenant_id(self) -> str:
        return self.request.context.tenant_id

    @property
    def request_id(self) -> str:
        return self.request.context.request_id


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with another status than the operation's first, or with headers."""

    body: Any
    status: int


@dataclass(frozen=True, slots=True)
class Operation:
    """What a method does at a path.

    `run` gets a `Call` and returns a body, to be encoded with the first status of `answers`, or a `Reply`.
    `path` uses Falcon's templates; `{name:path}` takes slashes too.
    """

    method: str
    path: str
    summary: str
    run: Callable[[Call], Any]
    answers: dict[int, Any]
    tag: str
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    path_fields: type[msgspec.Struct] | None = None
    headers: type[msgspec.Struct] | None = None
    errors: Sequence[int] = ()
    is_public: bool = False
    description: str = ""
    #: Other paths at which the same operation answers; they are not documented twice.
    aliases: Sequence[str] = field(default=())


class Handler:
    """Reads a request into what an operation declares, runs it, and encodes what it returns."""

    def __init__(self, operation: Operation, services: Services) -> None:
        self._operation = operation
        self._services = services
        self._status = falcon.code_to_http_status(next(iter(operation.answers)))
        self._body = JsonInput(operation.body) if operation.body else None
        self._query = TextInput(operation.query, "query") if operation.query else None
        self._path = TextInput(operation.path_fields, "path") if operation.path_fields else None
        self._headers = TextInput(operation.headers, "header") if operation.headers else None

    def __call__(self, request: ApiRequest, response: falcon.Response, **fields: str) -> None:
        # The path first: whoever names a thing badly should not be told about the body.
        path = self._path.read(path_fields(request, fields)) if self._path else None
        query = self._query.read_pairs(query_pairs(request.query_string)) if self._query else None
        headers = self._headers.read_pairs(_sent_headers(request, self._operation)) if self._headers else None
        body = None
        if self._body:
            body = self._body.read(body_bytes(request, self._services.settings.max_body_bytes))
        call = Call(self._services, request, body, query, path, headers)
        answer = self._operation.run(call)
        status = self._status
        if isinstance(answer, Reply):
            status, answer = falcon.code_to_http_status(answer.status), answer.body
        response.status = status
        response.content_type = falcon.MEDIA_JSON
        response.data = encode(answer)


class Resource:
    """All operations of one path, in the form that Falcon routes to."""

    def __init__(self, operations: Sequence[Operation], services: Services) -> None:
        for operation in operations:
            setattr(self, f"on_{operation.method.lower()}", _responder(Handler(operation, services)))


def _responder(handler: Handler) -> Callable[..., None]:
    def respond(request: ApiRequest, response: falcon.Response, **fields: str) -> None:
        handler(request, response, **fields)

    return respond


def _sent_headers(request: ApiRequest, operation: Operation) -> list[tuple[str, str]]:
    assert operation.headers is not None
    names = [item.encode_name for item in msgspec.structs.fields(operation.headers)]
    return [(name, value) for name in names if (value := request.get_header(name))]


#: Encodes every answer of the API.
encode = msgspec.json.Encoder().encode
