"""What a policy bundle is: rules in an order, each with conditions and an action (contract: governance §4.1, §4.2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import msgspec

Action = Literal["deny", "redact"]
Mode = Literal["log_only", "enforce"]

#: The predicates of `when`; those of labels and lists take several strings, the others one.
LABEL_PREDICATES = ("memory_has_any_label", "memory_has_all_labels")
CALLER_LISTS = ("caller_type_in", "caller_type_not_in")
CALLER_TEXTS = ("caller_type", "caller_id")
PREDICATES = (*LABEL_PREDICATES, *CALLER_TEXTS, *CALLER_LISTS)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. `when` is as it was written; `any_labels` and `all_labels` are as labels are stored: trimmed, lower
    case. Every predicate that is not None must hold."""

    id: str
    description: str
    action: Action
    when: dict[str, Any]
    any_labels: frozenset[str] | None = None
    all_labels: frozenset[str] | None = None
    caller_type: str | None = None
    caller_type_in: frozenset[str] | None = None
    caller_type_not_in: frozenset[str] | None = None
    caller_id: str | None = None


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A policy: the first rule that matches a memory and a caller decides; none matching means that it is allowed."""

    bundle_hash: str
    version: int
    metadata: dict[str, Any]
    rules: tuple[Rule, ...]


def bundle_hash(*, version: int, metadata: dict[str, Any], rules: list[dict[str, Any]]) -> str:
    """SHA-256 over the logical content (contract: governance §4.4): comments, layout and the order of keys make no
    difference, metadata and the order of rules do.

    Args:
        rules: `id`, `description`, `when` and `action` of each.
    """
    content = {"version": version, "metadata": metadata, "rules": rules}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def normal_label(label: str) -> str:
    """A label as it is stored and compared: without spaces around it, in lower case."""
    return label.strip().lower()
