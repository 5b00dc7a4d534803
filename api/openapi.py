"""The OpenAPI document, from the declarations that route and validate: it cannot say anything else than they do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from api.operations import Operation
from api.resources.service import server_version
from api.schemas.service import ErrorEnvelope

_REF = "#/components/schemas/{name}"
_FIELD = re.compile(r"\{(\w+)(?::[^}]*)?\}")

_DESCRIPTION = (
    "Statewave keeps what happened (episodes) and turns it, in the background, into what is known (memories). "
    "An agent then asks one question, `POST /v1/context`, and gets what matters for its task within a token budget."
)


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document for these operations, OpenAPI 3.1."""
    models = _models(operations)
    (*_, error_schema), components = msgspec.json.schema_components([*models, ErrorEnvelope], ref_template=_REF)
    refs = dict(zip(models, msgspec.json.schema_components([*models], ref_template=_REF)[0], strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(_FIELD.sub(r"{\1}", operation.path), {})[operation.method.lower()] = _described(
            operation, refs, error_schema
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Statewave Server",
            "version": server_version(),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"ApiKey": []}, {"Bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {name: _json_schema(schema) for name, schema in components.items()},
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _models(operations: Sequence[Operation]) -> list[Any]:
    models = [
        model
        for operation in operations
        for model in (operation.body, *operation.answers.values())
        if model is not None
    ]
    return list(dict.fromkeys(models))


def _described(operation: Operation, refs: dict[Any, Any], error_schema: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.run.__module__.rsplit('.', 1)[-1]}_{operation.run.__name__}",
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(refs[operation.body])}
    if operation.is_public:
        described["security"] = []
    described["responses"] = _responses(operation, refs, error_schema)
    return described


def _responses(operation: Operation, refs: dict[Any, Any], error_schema: dict[str, Any]) -> dict[str, Any]:
    answers = {
        str(status): {"description": HTTPStatus(status).phrase, "content": _json(refs[model])}
        for status, model in operation.answers.items()
    }
    statuses = [] if operation.is_public else [400, 401, 403, *operation.errors]
    for status in statuses:
        answers[str(status)] = {"description": _phrase(status), "content": _json(error_schema)}
    if not operation.is_public:
        answers["default"] = {"description": "Any other failure", "content": _json(error_schema)}
    return answers


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters = []
    places = (("path", operation.path_fields), ("query", operation.query), ("header", operation.headers))
    for place, model in places:
        if model is None:
            continue
        for field in msgspec.structs.fields(model):
            schema = _json_schema(msgspec.json.schema(field.type))
            parameter: dict[str, Any] = {
                "name": field.encode_name,
                "in": place,
                "required": place == "path" or field.required,
                "schema": _without_null(schema),
            }
            if description := parameter["schema"].pop("description", None):
                parameter["description"] = description
            if place == "query" and parameter["schema"].get("type") == "array":
                parameter |= {"style": "form", "explode": False}
            if not field.required and field.default not in (msgspec.NODEFAULT, None):
                parameter["schema"]["default"] = field.default
            parameters.append(parameter)
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is absent rather than null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    return dict(options[0]) if len(options) == 1 else dict(schema)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _json_schema(schema: Any) -> Any:
    """msgspec's schema with what only we know put right: raw documents are JSON objects."""
    if isinstance(schema, dict):
        return {key: _json_schema(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_json_schema(item) for item in schema]
    return schema
