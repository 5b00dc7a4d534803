"""Requests made from the served OpenAPI document: every operation, with its ids filled in as the walker wishes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import falcon.testing

#: Fields that hold an id of something, and so are filled in by the walker.
ID = re.compile(r"(^|_)(id|ids|cursor)$")

#: Words that fit fields of which a schema says a pattern or nothing at all.
WORDS = ("a.b", "sample", "Sample-1", "a" * 26, "https://example.com/hook", "0" * 64)

#: Chooses the value of an id field, given its name and schema.
Fill = Callable[[str, dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it was sent."""

    method: str
    path: str
    query: dict[str, str]
    body: Any

    @property
    def text(self) -> str:
        return json.dumps([self.path, self.query, self.body], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Described:
    """One operation of the document."""

    method: str
    template: str
    details: dict[str, Any] = field(repr=False)
    components: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def is_operators(self) -> bool:
        return self.template.startswith(("/admin/", "/ops/"))

    @property
    def is_public(self) -> bool:
        return self.details.get("security") == []

    def id_fields(self) -> dict[str, dict[str, Any]]:
        """Names and schemas of all fields that take an id."""
        found: dict[str, dict[str, Any]] = {}

        def note(name: str, schema: dict[str, Any]) -> str:
            found[name] = schema
            return "x"

        self.request(note, text="x")
        return found

    def request(self, fill: Fill, *, text: str) -> Sent:
        """A request whose texts say `text`."""
        path, query = self.template, {}
        for parameter in self._parameters():
            value = self._value(parameter["name"], parameter["schema"], fill, text)
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", quote(str(value), safe=""))
            elif value is not None and parameter["name"] not in ("limit", "offset", "api_key", "format"):
                query[parameter["name"]] = _as_text(value)
        body = None
        if "requestBody" in self.details:
            schema = self.details["requestBody"]["content"]["application/json"]["schema"]
            body = self._value("", schema, fill, text)
        return Sent(self.method, path, query, body)

    def _parameters(self) -> Iterator[dict[str, Any]]:
        for parameter in self.details.get("parameters", []):
            if "$ref" not in parameter and parameter["in"] != "header":
                yield parameter

    def _value(self, name: str, schema: dict[str, Any], fill: Fill, text: str) -> Any:
        schema = self._resolved(schema)
        if "enum" in schema or "const" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        kind = schema.get("type")
        if kind == "array":
            return [self._value(name, schema.get("items", {}), fill, text)]
        if kind == "object" or "properties" in schema:
            return self._object(schema, fill, text)
        if ID.search(name) and kind in ("string", None):
            return fill(name, schema)
        if kind in ("integer", "number"):
            return schema.get("default", schema.get("minimum", 1))
        if kind == "boolean":
            return schema.get("default", False)
        return _words(schema, text)

    def _object(self, schema: dict[str, Any], fill: Fill, text: str) -> dict[str, Any]:
        properties = schema.get("properties", {})
        if not properties:
            return {"note": text, "messages": [{"role": "user", "content": f"My name is {text}."}]}
        return {name: self._value(name, each, fill, text) for name, each in properties.items()}

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while True:
            if "$ref" in schema:
                schema = self.components[schema["$ref"].rsplit("/", 1)[-1]]
            elif options := schema.get("anyOf", schema.get("oneOf")):
                real = [option for option in options if option.get("type") != "null"]
                schema = {**{key: schema[key] for key in ("default",) if schema.get(key) is not None}, **real[0]}
            else:
                return schema


def operations(document: dict[str, Any]) -> list[Described]:
    """Every operation of the document; what deletes comes last, so that there is something to find before."""
    found = [
        Described(method.upper(), template, details, document["components"]["schemas"])
        for template, methods in document["paths"].items()
        for method, details in methods.items()
    ]
    return sorted(found, key=lambda each: each.method == "DELETE")


def send(client: falcon.testing.TestClient, request: Sent, headers: dict[str, str]) -> falcon.testing.Result:
    """Send it."""
    return client.simulate_request(
        request.method, request.path, params=request.query, json=request.body, headers=headers
    )


def _words(schema: dict[str, Any], text: str) -> str:
    if schema.get("format") == "date-time":
        return "2026-03-01T10:00:00Z"
    if schema.get("format") == "uuid":
        return "00000000-0000-7000-8000-000000000000"
    longest = schema.get("maxLength", 10_000)
    pattern = schema.get("pattern")
    for words in (text, *WORDS):
        if len(words) <= longest and (pattern is None or re.search(pattern, words)):
            return words
    return text[:longest]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
