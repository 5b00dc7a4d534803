"""Operations: one declaration each, from which routing, validation and the OpenAPI document come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import falcon
import msgspec

from api.inputs import JsonInput, TextInput, body_bytes, invalid, path_fields, query_pairs
from api.request import ApiRequest
from config.errors import FieldProblem, ValidationFailed
from pipelines.principal import Principal
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
    def principal(self) -> Principal:
        """Who asks; `principal.name` is what the audit log and fields such as `promoted_by` say."""
        return self.request.context.principal

    @property
    def request_id(self) -> str:
        return self.request.context.request_id


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with another status than the operation's first."""

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


#: Reads one part of a request, given the fields of its path.
Read = Callable[[ApiRequest, dict[str, str]], Any]


class Handler:
    """Reads a request into what an operation declares, runs it, and encodes what it returns."""

    def __init__(self, operation: Operation, services: Services) -> None:
        self._run = operation.run
        self._services = services
        self._status = falcon.code_to_http_status(next(iter(operation.answers)))
        self._parts = list(_readers(operation, services.settings.max_body_bytes).items())

    def respond(self, request: ApiRequest, response: falcon.Response, **fields: str) -> None:
        """What Falcon calls."""
        answer = self._run(Call(self._services, request, **self._read(request, fields)))
        status = self._status
        if isinstance(answer, Reply):
            status, answer = falcon.code_to_http_status(answer.status), answer.body
        response.status = status
        response.content_type = falcon.MEDIA_JSON
        response.data = encode(answer)

    def _read(self, request: ApiRequest, fields: dict[str, str]) -> dict[str, Any]:
        """Every part by its name in `Call`. The problems of all parts are raised together."""
        parts = {}
        problems: list[FieldProblem] = []
        for name, read in self._parts:
            try:
                parts[name] = read(request, fields)
            except ValidationFailed as ex:
                problems += ex.details or []
        if problems:
            raise invalid(problems)
        return parts


class Resource:
    """All operations of one path, in the form that Falcon routes to. What answers GET answers HEAD."""

    def __init__(self, operations: Sequence[Operation], services: Services) -> None:
        for operation in operations:
            respond = Handler(operation, services).respond
            setattr(self, f"on_{operation.method.lower()}", respond)
            if operation.method == "GET":
                self.on_head = respond


def _readers(operation: Operation, body_limit: int) -> Mapping[str, Read]:
    readers: dict[str, Read] = {}
    if operation.path_fields is not None:
        path = TextInput(operation.path_fields, "path")
        readers["path"] = lambda request, fields: path.read(path_fields(request, fields))
    if operation.query is not None:
        query = TextInput(operation.query, "query")
        readers["query"] = lambda request, fields: query.read_pairs(query_pairs(request.query_string))
    if operation.headers is not None:
        headers = TextInput(operation.headers, "header")
        names = [item.encode_name for item in msgspec.structs.fields(operation.headers)]
        readers["headers"] = lambda request, fields: headers.read_pairs(
            [(name, value) for name in names if (value := request.get_header(name))]
        )
    if operation.body is not None:
        body = JsonInput(operation.body)
        readers["body"] = lambda request, fields: body.read(body_bytes(request, body_limit))
    return readers


#: Encodes every answer of the API.
encode = msgspec.json.Encoder().encode
