"""The OpenAPI document, from the declarations that route and validate: it cannot say anything else than they do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, get_args

import msgspec

from api.operations import JSON_LINES, OPERATOR_PATHS, Operation
from api.resources.service import server_version
from api.schemas.service import ErrorEnvelope
from api.validation import bare_type
from config.settings import Settings

_REF = "#/components/schemas/{name}"
_FIELD = re.compile(r"\{(\w+)(?::[^}]*)?\}")

_DESCRIPTION = (
    "Statewave keeps what happened (episodes) and turns it, in the background, into what is known (memories). "
    "An agent then asks one question, `POST /v1/context`, and gets what matters for its task within a token budget."
)

#: Statuses whose answers say when to come back.
_LATER = (409, 429, 503)


def document(operations: Sequence[Operation], settings: Settings) -> dict[str, Any]:
    """The document for these operations as this server serves them, OpenAPI 3.1."""
    models = list(dict.fromkeys([ErrorEnvelope, *_models(operations)]))
    schemas, components = msgspec.json.schema_components(models, ref_template=_REF)
    refs = dict(zip(models, schemas, strict=True))
    for model in _structs(models):
        _correct(components[model.__name__], model)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _FIELD.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _described(operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Statewave Server",
            "version": server_version(),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"ApiKey": []}, {"Bearer": []}] if settings.api_key or settings.require_api_key else [],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": {
                "Tenant": _tenant_parameter(settings, required=settings.require_tenant),
                "OperatorTenant": _tenant_parameter(settings, required=False),
            },
            "headers": {
                "RequestId": {
                    "description": "Names the request in the server's log: the caller's own `X-Request-ID`, if any.",
                    "schema": {"type": "string", "maxLength": 128},
                },
                "RetryAfter": {
                    "description": "Seconds after which it makes sense to try again.",
                    "schema": {"type": "integer", "minimum": 0},
                },
            },
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _models(operations: Sequence[Operation]) -> Iterator[Any]:
    for operation in operations:
        if operation.body is not None:
            yield from _forms(operation.body)
        yield from operation.answers.values()


def _forms(body: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """A body, and the other form of it that is accepted in its place."""
    other: type[msgspec.Struct] | None = getattr(body, "other_form", None)
    return [body] if other is None else [body, other]


def _structs(models: Sequence[Any]) -> list[type[msgspec.Struct]]:
    """The structs among the types, and those inside them."""
    found: list[type[msgspec.Struct]] = []
    waiting = list(models)
    while waiting:
        candidate = waiting.pop()
        waiting.extend(get_args(candidate))
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct) and candidate not in found:
            found.append(candidate)
            waiting.extend(field.type for field in msgspec.structs.fields(candidate))
    return found


def _correct(schema: dict[str, Any], model: type[msgspec.Struct]) -> None:
    """Say what msgspec cannot know: documents passed on as they are hold objects, and moments have a format."""
    for field in msgspec.structs.fields(model):
        described = schema["properties"][field.encode_name]
        if bare_type(field.type) is msgspec.Raw:
            described["type"] = "object"
        if bare_type(field.type) is datetime:
            for option in described.get("anyOf", [described]):
                if option.get("type") == "string":
                    option["format"] = "date-time"


def _described(operation: Operation, refs: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.run.__module__.rsplit('.', 1)[-1]}_{operation.run.__name__}",
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    parameters = list(_parameters(operation))
    if not operation.is_public:
        # Operators may look at all tenants, so they need not name one even where everybody else must.
        name = "OperatorTenant" if operation.path.startswith(OPERATOR_PATHS) else "Tenant"
        parameters.append({"$ref": f"#/components/parameters/{name}"})
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        forms = [refs[form] for form in _forms(operation.body)]
        schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
        described["requestBody"] = {"required": not operation.body_is_optional, "content": _json(schema)}
    if operation.is_public:
        described["security"] = []
    described["responses"] = _responses(operation, refs)
    return described


def _responses(operation: Operation, refs: dict[Any, Any]) -> dict[str, Any]:
    answers = {str(status): _response(status, refs[model]) for status, model in operation.answers.items()}
    if operation.streams:
        # One JSON value per line, which no schema of the whole can say.
        answers["200"]["content"][JSON_LINES] = {"schema": {"type": "string"}}
    statuses = list(operation.errors) if operation.is_public else [400, 401, 403, 429, *operation.errors]
    for status in statuses:
        answers[str(status)] = _response(status, refs[ErrorEnvelope])
    answers["default"] = {**_response(500, refs[ErrorEnvelope]), "description": "Any other failure"}
    return answers


def _response(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
    if status in _LATER:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {"description": HTTPStatus(status).phrase, "headers": headers, "content": _json(schema)}


def _tenant_parameter(settings: Settings, *, required: bool) -> dict[str, Any]:
    return {
        "name": settings.tenant_header,
        "in": "header",
        "required": required,
        "description": "Whose rows to read and write. Without it: those of the default tenant.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    }


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    places = (("path", operation.path_fields), ("query", operation.query), ("header", operation.headers))
    for place, model in places:
        if model is None:
            continue
        for field in msgspec.structs.fields(model):
            schema = _without_null(msgspec.json.schema(field.type))
            parameter: dict[str, Any] = {
                "name": field.encode_name,
                "in": place,
                "required": place == "path" or field.required,
                "schema": schema,
            }
            if description := schema.pop("description", None):
                parameter["description"] = description
            if place == "query" and schema.get("type") == "array":
                parameter |= {"style": "form", "explode": False}
            if not field.required and field.default not in (msgspec.NODEFAULT, None):
                schema["default"] = field.default
            yield parameter


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is absent rather than null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    return dict(options[0]) if len(options) == 1 else dict(schema)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
