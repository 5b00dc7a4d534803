"""Operations: one declaration each, from which routing, validation and the OpenAPI document come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import falcon
import msgspec

from api.inputs import JsonInput, TextInput, body_bytes, invalid, path_fields, query_pairs
from api.request import ApiRequest
from config.errors import FieldProblem, Forbidden, ValidationFailed
from pipelines import audit
from pipelines.principal import Principal, Scope
from pipelines.services import Services
from storage.standing import keeping_to, kept_to

#: What `Lines` are sent as (https://jsonlines.org).
JSON_LINES = "application/jsonl"

#: Paths of operators, who may look at all tenants (contract: governance §9).
OPERATOR_PATHS = ("/admin/", "/ops/", "/metrics")


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

    def named_tenants(self) -> list[str]:
        """Tenants that the request names in its path, query or body, the default tenant apart."""
        parts = (self.path, self.query, self.body)
        named = [getattr(part, name, None) for part in parts for name in ("tenant_id", "target_tenant_id")]
        return [tenant_id for tenant_id in named if isinstance(tenant_id, str) and tenant_id not in ("", "-")]

    @property
    def request_id(self) -> str:
        return self.request.context.request_id


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with another status than the operation's first."""

    body: Any
    status: int


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is written while it is made."""

    pieces: Iterator[bytes]
    content_type: str
    #: Name of the file that browsers offer to keep it as.
    file_name: str


@dataclass(frozen=True, slots=True)
class Lines:
    """An answer of any length, sent as JSON Lines while it is read."""

    rows: Iterable[Any]


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
    #: A request without a body means the body's defaults.
    body_is_optional: bool = False
    query: type[msgspec.Struct] | None = None
    path_fields: type[msgspec.Struct] | None = None
    headers: type[msgspec.Struct] | None = None
    errors: Sequence[int] = ()
    is_public: bool = False
    description: str = ""
    #: What the key must be good for; unset, reading for GET and writing for all else. Operators' paths ask for `admin`
    #: besides.
    scope: Scope | None = None
    #: Whether it may answer with `Lines`.
    streams: bool = False
    #: Whether it is about the server itself, tenants of other regions included.
    is_about_the_server: bool = False
    #: Other paths at which the same operation answers; they are not documented twice.
    aliases: Sequence[str] = field(default=())

    @property
    def changes(self) -> bool:
        """Whether it does more than read."""
        return self.scope == "write" or (self.scope is None and self.method != "GET")

    @property
    def is_operators(self) -> bool:
        """Whether only operators may call it."""
        return self.path.startswith(OPERATOR_PATHS)

    @property
    def needed_scopes(self) -> frozenset[Scope]:
        """What the key must be good for. An operator's key with `admin` alone may look, and change nothing."""
        if self.is_public:
            return frozenset()
        if self.is_operators:
            return frozenset({"admin", "write"} if self.changes else {"admin"})
        return frozenset({"write" if self.changes else "read"})


#: Reads one part of a request, given the fields of its path.
Read = Callable[[ApiRequest, dict[str, str]], Any]


class Handler:
    """Reads a request into what an operation declares, runs it, and encodes what it returns."""

    def __init__(self, operation: Operation, services: Services) -> None:
        self._run = operation.run
        self._services = services
        self._status = falcon.code_to_http_status(next(iter(operation.answers)))
        self._operation = operation
        self._needs = operation.needed_scopes
        keeps = operation.is_operators and not operation.is_about_the_server
        self._region = services.settings.region if keeps else None
        self._parts = list(_readers(operation, services.settings.max_body_bytes).items())

    def respond(self, request: ApiRequest, response: falcon.Response, **fields: str) -> None:
        """What Falcon calls."""
        if not self._needs <= request.context.principal.scopes:
            missing = " and ".join(sorted(self._needs - request.context.principal.scopes))
            raise Forbidden(f"the API key lacks the scope {missing}", code="insufficient_scope")
        call = Call(self._services, request, **self._read(request, fields))
        # A pin that was set by mistake must not lock out the operator who puts it right, and says so.
        if not getattr(call.body, "force_region_pin", False):
            for tenant_id in call.named_tenants():
                request.serve_tenant(tenant_id)
        region = self._region
        with keeping_to(region), self._audited(call):
            answer = self._run(call)
        status = self._status
        if isinstance(answer, Stream):
            response.content_type = answer.content_type
            response.downloadable_as = answer.file_name
            response.stream = kept_to(region, answer.pieces)
            return
        if isinstance(answer, Reply):
            status, answer = falcon.code_to_http_status(answer.status), answer.body
        response.status = status
        if isinstance(answer, Lines):
            response.content_type = JSON_LINES
            response.stream = kept_to(region, (encode(row) + b"\n" for row in answer.rows))
            return
        response.content_type = falcon.MEDIA_JSON
        response.data = encode(answer)

    def _audited(self, call: Call) -> AbstractContextManager[object]:
        """What operators change, the audit log knows: each operation is recorded with the first thing it writes."""
        operation = self._operation
        if not (operation.is_operators and operation.changes):
            return nullcontext()
        path = msgspec.structs.astuple(call.path) if call.path is not None else ()
        return audit.acting(
            actor=call.principal.name,
            action=f"{operation.method} {operation.path.replace(':path}', '}')}",
            tenant_id=next(iter(call.named_tenants()), call.tenant_id or None),
            target="/".join(str(part) for part in path),
            details=msgspec.to_builtins(call.query) if call.query is not None else {},
            request_id=call.request_id,
        )

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
        body = JsonInput(operation.body, is_optional=operation.body_is_optional)
        readers["body"] = lambda request, fields: body.read(body_bytes(request, body_limit))
    return readers


#: Encodes every answer of the API.
encode = msgspec.json.Encoder().encode
