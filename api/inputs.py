"""Reading a request's body, query, path and headers into the types its operation declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin
from urllib.parse import parse_qsl

import falcon
import msgspec

from api import content
from api.request import ApiRequest
from api.validation import Collector, bare_type
from config.errors import BodyTooLarge, FieldProblem, ValidationFailed

#: Bytes of a long body that are read at once.
_PIECE = 64 * 1024


class JsonInput:
    """Decodes bodies of one type."""

    def __init__(self, model: type[msgspec.Struct], *, is_optional: bool = False) -> None:
        """`is_optional` reads nothing at all as the model's defaults."""
        self._model = model
        self._is_optional = is_optional
        self._decode = msgspec.json.Decoder(model).decode

    def read(self, raw: bytes) -> Any:
        """The body, valid.

        Raises:
            ValidationFailed: with every problem there is.
        """
        if self._is_optional and not raw.strip():
            return self._model()
        try:
            decoded = self._decode(raw)
        except (ValueError, RecursionError):
            return self._read_leniently(raw)
        if content.is_suspicious(raw, decoded):
            return self._read_leniently(raw)
        return decoded

    def _read_leniently(self, raw: bytes) -> Any:
        problems = Collector()
        value = content.parse(raw, problems)
        if not problems.problems:
            content.inspect(value, ("body",), problems)
            read = problems.read(value, self._model, ("body",))
        if problems.problems:
            raise invalid(problems.problems)
        return read


class TextInput:
    """Reads values that arrive as text: queries, path fields, headers."""

    def __init__(self, model: type[msgspec.Struct], place: str) -> None:
        """`place` is what locations start with: `query`, `path` or `header`."""
        fields = msgspec.structs.fields(model)
        self._model = model
        self._place = place
        self._names = {field.encode_name for field in fields}
        self._lists = {field.encode_name for field in fields if get_origin(bare_type(field.type)) is list}

    def read_pairs(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """Values by name; of a repeated name the last counts, except for lists. Unknown names are ignored."""
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name not in self._names or not value:
                continue
            if name in self._lists:
                values.setdefault(name, []).extend(part for part in value.split(",") if part)
            else:
                values[name] = value
        return self.read(values)

    def read(self, values: Mapping[str, Any]) -> Any:
        """The values as the model.

        Raises:
            ValidationFailed: with every problem there is.
        """
        if any(type(value) is list or "\x00" in value or not value.isascii() for value in values.values()):
            self._require_storable(values)
        try:
            return msgspec.convert(values, self._model, strict=False)
        except ValueError:
            problems = Collector(from_text=True)
            read = problems.read(values, self._model, (self._place,))
            if problems.problems:
                raise invalid(problems.problems) from None
            return read

    def _require_storable(self, values: Mapping[str, Any]) -> None:
        problems = Collector()
        content.inspect(values, (self._place,), problems)
        if problems.problems:
            raise invalid(problems.problems)


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of a query string. Bytes that are not UTF-8 become surrogates, which readers refuse."""
    if not query:
        return []
    # WSGI hands bytes over as Latin-1.
    text = query if query.isascii() else query.encode("latin-1").decode("utf-8", "surrogateescape")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def path_fields(request: ApiRequest, fields: dict[str, str]) -> dict[str, str]:
    """The path's fields as sent. Falcon replaces bytes that are not UTF-8; a subject must not be found by accident."""
    if any("\ufffd" in value for value in fields.values()):
        sent: str = request.env["PATH_INFO"]
        try:
            sent.encode("latin-1").decode()
        except UnicodeDecodeError:
            raise invalid(
                [{"loc": ["path", name], "msg": "Not UTF-8", "type": "invalid_utf8"} for name in fields]
            ) from None
    return fields


def body_bytes(request: ApiRequest, limit: int) -> bytes:
    """The request's body, also when it is sent in chunks.

    Raises:
        BodyTooLarge: when it is, or says it is, longer than `limit` bytes.
        falcon.HTTPBadRequest: when the connection delivers something that is not the body it promised.
        falcon.HTTPUnsupportedMediaType: when it is compressed.
    """
    env = request.env
    _require_plain(request)
    length = env.get("CONTENT_LENGTH")
    if length:
        try:
            size = int(length)
        except ValueError:
            raise falcon.HTTPBadRequest(description="Content-Length is not a number") from None
        if size > limit:
            raise _too_large(limit)
    elif "chunked" in env.get("HTTP_TRANSFER_ENCODING", "").lower():
        size = limit + 1
    else:
        return b""
    try:
        raw: bytes = env["wsgi.input"].read(size)
    except Exception as ex:
        # Servers raise errors of their own, related to nothing, for a broken chunk or a connection that went away.
        raise falcon.HTTPBadRequest(description="The request body could not be read") from ex
    if len(raw) > limit:
        raise _too_large(limit)
    return raw


def body_lines(request: ApiRequest, longest: int) -> Iterator[bytes]:
    """The lines of a body of any length as they arrive, also when it is sent in chunks; one of them is in memory.

    Raises:
        BodyTooLarge: when a line is longer than `longest` bytes.
        falcon.HTTPBadRequest: when the connection delivers something that is not the body it promised.
        falcon.HTTPUnsupportedMediaType: when it is compressed.
    """
    _require_plain(request)
    rest = b""
    for piece in _pieces(request):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > longest:
            raise BodyTooLarge(f"A line of the request body is larger than {longest} bytes")
    yield rest


def _require_plain(request: ApiRequest) -> None:
    coding = request.env.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if coding not in ("", "identity"):
        raise falcon.HTTPUnsupportedMediaType(
            description=f"Content-Encoding {coding[:40]!r} is not read: send the body as it is",
            headers={"Accept-Encoding": "identity"},
        )


def _pieces(request: ApiRequest) -> Iterator[bytes]:
    env = request.env
    is_chunked = "chunked" in env.get("HTTP_TRANSFER_ENCODING", "").lower()
    remaining = None if is_chunked else request.content_length or 0
    while remaining is None or remaining > 0:
        try:
            piece: bytes = env["wsgi.input"].read(_PIECE if remaining is None else min(_PIECE, remaining))
        except Exception as ex:
            raise falcon.HTTPBadRequest(description="The request body could not be read") from ex
        if not piece:
            return
        if remaining is not None:
            remaining -= len(piece)
        yield piece


def invalid(problems: list[FieldProblem]) -> ValidationFailed:
    """The error for these problems; its message names the fields, for logs and for people who read only that."""
    names = ", ".join(dict.fromkeys(".".join(str(part) for part in problem["loc"][:4]) for problem in problems[:5]))
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    return ValidationFailed(f"The request is not valid: {names}{more}", details=problems)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit} bytes")
