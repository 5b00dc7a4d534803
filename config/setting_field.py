"""How a setting is declared: a field of a dataclass that knows its default, its meaning and how its text is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def setting(default: Any, doc: str, parse: Callable[[str], Any]) -> Any:
    """A setting.

    Args:
        doc: what the table of the README says about it.
        parse: makes the value of the variable's text; raises `ValueError` with what would be accepted.
    """
    metadata = {"doc": doc, "parse": parse}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
