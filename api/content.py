"""What valid JSON may contain and this server refuses, because neither PostgreSQL nor a worker could take it."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from api.validation import Collector, Location

#: Levels that objects and lists may be nested. Real documents stay far below; recursive readers, far above, fail.
MAX_NESTING = 100

_NESTED = (dict, list)


def is_suspicious(raw: bytes, decoded: Any) -> bool:
    """Whether a decoded body needs `inspect`. PERF: costs next to nothing for the bodies that do not."""
    if b"\\u0000" in raw:
        return True
    # Nobody can nest deeper than there are opening brackets.
    return raw.count(b"{") + raw.count(b"[") > MAX_NESTING and _deeper_than(decoded, MAX_NESTING)


def parse(raw: bytes, problems: Collector) -> Any:
    """The body as plain values, also where they are unacceptable; None with a problem when it is not JSON at all."""
    try:
        return json.loads(raw.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as ex:
        problems.add(("body",), f"Not UTF-8: invalid byte at offset {ex.start}", "invalid_utf8")
    except json.JSONDecodeError as ex:
        problems.add(("body",), f"Not JSON: {ex.msg} at line {ex.lineno}, column {ex.colno}", "invalid_json")
    except RecursionError:
        problems.add(("body",), f"Nested deeper than {MAX_NESTING} levels", "too_deep")
    except ValueError as ex:
        problems.add(("body",), f"Not JSON: {ex}", "invalid_json")
    return None


def inspect(value: Any, location: Location, problems: Collector) -> None:
    """Report every string and number inside `value` that cannot be stored, keys included, and too deep nesting."""
    waiting: list[tuple[Any, Location]] = [(value, location)]
    while waiting:
        current, at = waiting.pop()
        if isinstance(current, str):
            inspect_text(current, at, problems)
        elif isinstance(current, float) and not math.isfinite(current):
            problems.add(at, "Number out of range", "out_of_range")
        elif isinstance(current, _NESTED):
            if len(at) - len(location) >= MAX_NESTING:
                problems.add(at[: len(location) + 3], f"Nested deeper than {MAX_NESTING} levels", "too_deep")
                continue
            waiting.extend(_children(current, at, problems))


def inspect_text(text: str, location: Location, problems: Collector) -> None:
    """Report text that is not storable."""
    if "\x00" in text:
        problems.add(location, "Must not contain the NUL character (U+0000)", "nul_character")
    if not is_unicode(text):
        problems.add(location, "Must not contain half of a surrogate pair", "lone_surrogate")


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded at all: half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _children(value: Any, location: Location, problems: Collector) -> list[tuple[Any, Location]]:
    if isinstance(value, list):
        return [(child, (*location, index)) for index, child in enumerate(value)][::-1]
    children = []
    for key, child in value.items():
        # A location is part of the answer, so a key that cannot be encoded is shown with question marks.
        named = (*location, key if is_unicode(key) else key.encode(errors="replace").decode())
        inspect_text(key, named, problems)
        children.append((child, named))
    return children[::-1]


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether objects and lists are nested beyond `limit`; structs count as objects."""
    level = [value]
    for _ in range(limit):
        inside: list[Any] = []
        for nested in level:
            if type(nested) is dict:
                children: Any = nested.values()
            elif type(nested) is list:
                children = nested
            else:
                children = [getattr(nested, name) for name in nested.__struct_fields__]
            inside += [
                child
                for child in children
                if type(child) is dict or type(child) is list or isinstance(child, msgspec.Struct)
            ]
        if not inside:
            return False
        level = inside
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
