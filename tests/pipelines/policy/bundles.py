"""Random bundles, and the plainest possible reading of the contract to compare evaluation with."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

LABELS = ["pii.email", "pii.phone", "health", "legal", "x"]
TYPES = ["support", "marketing", "bot"]
IDS = ["a", "b"]

_labels = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3)
_types = st.lists(st.sampled_from(TYPES), min_size=1, max_size=2)

_PREDICATES: dict[str, st.SearchStrategy[Any]] = {
    "memory_has_any_label": _labels | _labels.map(lambda names: [name.upper() for name in names]),
    "memory_has_all_labels": _labels,
    "caller_type": st.sampled_from(TYPES),
    "caller_type_in": _types,
    "caller_type_not_in": _types,
    "caller_id": st.sampled_from(IDS),
}

conditions = st.dictionaries(st.sampled_from(sorted(_PREDICATES)), st.none(), min_size=1, max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: _PREDICATES[name] for name in names})
)
rules = st.lists(st.tuples(conditions, st.sampled_from(["deny", "redact"])), max_size=5)
callers = st.tuples(st.sampled_from([None, *IDS]), st.sampled_from([None, *TYPES]))
label_sets = st.lists(st.sampled_from(LABELS), unique=True, max_size=3)


def document(drawn: list[tuple[dict[str, Any], str]]) -> str:
    """The rules as a policy; rule n has the id `rn`."""
    return json.dumps(
        {
            "version": 1,
            "rules": [{"id": f"r{n}", "when": when, "action": action} for n, (when, action) in enumerate(drawn)],
        }
    )


def expected(
    drawn: list[tuple[dict[str, Any], str]], labels: list[str], caller_id: str | None, caller_type: str | None
) -> tuple[str, str] | None:
    """Rule and action by the contract's table, word by word; None when the memory is allowed."""
    for number, (when, action) in enumerate(drawn):
        holds = []
        for name, value in when.items():
            if name == "memory_has_any_label":
                holds.append(any(label.lower() in labels for label in value))
            elif name == "memory_has_all_labels":
                holds.append(all(label in labels for label in value))
            elif name == "caller_type":
                holds.append(caller_type is not None and caller_type == value)
            elif name == "caller_type_in":
                holds.append(caller_type is not None and caller_type in value)
            elif name == "caller_type_not_in":
                holds.append(caller_type is None or caller_type not in value)
            elif name == "caller_id":
                holds.append(caller_id is not None and caller_id == value)
        if all(holds):
            return f"r{number}", action
    return None
