"""Saying everything that is wrong with a request at once.

The fast path is one pass of msgspec, which stops at the first fault. Only then is the input read again here, field by
field, by the same types: whatever msgspec refuses is refused here too, in its words, and the reading goes on. A few
things that clients really send and msgspec is too strict for (dates without a time, the connectors' form of an
episode) turn out to be acceptable on this path.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from api.schemas.fields import BadField, as_utc
from config.errors import FieldProblem

Location = tuple[str | int, ...]

#: Problems reported at most; enough for every field of a full batch.
MAX_PROBLEMS = 1000

#: How msgspec's messages begin, and the kind of problem each stands for.
_KINDS = (
    ("Expected `str` of length >=", "too_short"),
    ("Expected `array` of length >=", "too_short"),
    ("Expected `str` of length <=", "too_long"),
    ("Expected `array` of length <=", "too_long"),
    ("Expected `object` of length <=", "too_long"),
    ("Expected `str` matching", "invalid_characters"),
    ("Expected `int` >=", "too_small"),
    ("Expected `int` <=", "too_large"),
    ("Expected `float` >=", "too_small"),
    ("Expected `float` <=", "too_large"),
    ("Invalid", "invalid_value"),
)


class Collector:
    """Reads untyped values by type and remembers what is wrong with them."""

    def __init__(self, *, from_text: bool = False) -> None:
        """`from_text` reads numbers, booleans and dates out of strings, as queries carry them."""
        self.problems: list[FieldProblem] = []
        self._from_text = from_text

    def add(self, location: Location, message: str, kind: str) -> None:
        """Remember a problem."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"loc": list(location), "msg": message, "type": kind})

    def read(self, value: Any, expected: Any, location: Location) -> Any:
        """The value as the expected type. What it returns means something only while there are no problems."""
        expected, nullable = _without_none(expected)
        if value is None and nullable:
            return None
        plain = bare_type(expected)
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            return self._struct(value, plain, location)
        if get_origin(plain) is list and isinstance(value, list):
            return self._list(value, expected, get_args(plain)[0], location)
        return self._leaf(value, expected, plain, location)

    def _struct(self, value: Any, model: type[msgspec.Struct], location: Location) -> Any:
        if not isinstance(value, dict):
            self.add(location, f"Expected `object`, got `{_json_type(value)}`", "wrong_type")
            return None
        other = getattr(model, "other_form", None)
        if other is not None and other.recognises(value):
            read = self._struct(value, other, location)
            return None if read is None else read.translated()
        before = len(self.problems)
        if model.__struct_config__.forbid_unknown_fields:
            for name in sorted(value.keys() - {field.encode_name for field in _fields(model)}):
                self.add((*location, name), "There is no such field", "unknown_field")
        arguments = {}
        for field in _fields(model):
            name = field.encode_name
            if name in value:
                arguments[field.name] = self.read(value[name], field.type, (*location, name))
            elif field.required:
                self.add((*location, name), "Field is required", "missing")
        return model(**arguments) if len(self.problems) == before else None

    def _list(self, value: list[Any], expected: Any, item: Any, location: Location) -> Any:
        before = len(self.problems)
        bare = Annotated[list[Any], *get_args(expected)[1:]] if get_origin(expected) is Annotated else list[Any]
        self._leaf(value, bare, list, location)
        if len(self.problems) > before:
            return None
        return [self.read(each, item, (*location, index)) for index, each in enumerate(value)]

    def _leaf(self, value: Any, expected: Any, plain: Any, location: Location) -> Any:
        if plain is datetime and isinstance(value, str):
            value = _lenient_moment(value)
        try:
            converted = msgspec.convert(value, expected, strict=not self._from_text)
        except msgspec.ValidationError as ex:
            self._explain(ex, expected, location)
            return None
        check = _extra(expected, "check")
        if check is not None:
            try:
                check(converted)
            except BadField as ex:
                self.add((*location, *ex.inside), str(ex), ex.kind)
            if plain is datetime:
                with contextlib.suppress(BadField):
                    return as_utc(converted)
        return converted

    def _explain(self, ex: msgspec.ValidationError, expected: Any, location: Location) -> None:
        message, _, path = str(ex).partition(" - at ")
        path = path.replace("`", "")
        kind = next((kind for start, kind in _KINDS if message.startswith(start)), "wrong_type")
        if kind == "invalid_characters":
            message = _extra(expected, "problem") or message
        elif not path:
            message = self._in_plain_words(bare_type(expected)) or message
        if path and "[...]" not in path:
            message = f"{message} (at {path})"
        self.add(location, message, kind)

    def _in_plain_words(self, plain: Any) -> str | None:
        """What is accepted, where the decoder's own words do not tell somebody how to put it right."""
        if get_origin(plain) is Literal:
            return f"Expected one of {', '.join(repr(choice) for choice in get_args(plain))}"
        if plain is datetime:
            return "Expected a time in ISO 8601, such as 2026-03-14T09:26:53Z"
        if plain is bool and self._from_text:
            return "Expected true or false"
        return None


#: Reading the annotations of a model takes longer than reading a value of it.
_fields = cache(msgspec.structs.fields)


def _without_none(expected: Any) -> tuple[Any, bool]:
    """`X | None` as X, and whether None was allowed."""
    if get_origin(expected) not in (Union, types.UnionType):
        return expected, False
    options = [option for option in get_args(expected) if option is not types.NoneType]
    return (options[0] if len(options) == 1 else expected), len(options) < len(get_args(expected))


def bare_type(expected: Any) -> Any:
    """The type without its constraints and without None."""
    expected, _ = _without_none(expected)
    return get_args(expected)[0] if get_origin(expected) is Annotated else expected


def _extra(expected: Any, name: str) -> Any:
    """What the schema says beside the type: the `extra` of its `Meta`."""
    if get_origin(expected) is not Annotated:
        return None
    extras = [meta.extra for meta in get_args(expected)[1:] if isinstance(meta, msgspec.Meta) and meta.extra]
    return next((extra[name] for extra in extras if name in extra), None)


def _lenient_moment(text: str) -> datetime | str:
    """Any ISO 8601 date or time that Python reads, a date alone being its midnight; else the text as it is."""
    # In a query an unencoded `+` means a space, and the offset of a time is where people forget that.
    candidates = [text, f"{text[:-6]}+{text[-5:]}"] if text[-6:-5] == " " else [text]
    for candidate in candidates:
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(candidate)
    return text


def _json_type(value: Any) -> str:
    names: Mapping[type, str] = {
        type(None): "null",
        bool: "bool",
        int: "int",
        float: "float",
        str: "str",
        list: "array",
    }
    return names.get(type(value), "object")
