"""Requests that are valid, to be spoiled one way at a time."""

from __future__ import annotations

from typing import Any


def episode(**fields: Any) -> dict[str, Any]:
    """A valid episode; a field given as `...` is left out."""
    valid = {
        "subject_id": "ada",
        "source": "chat",
        "type": "message",
        "payload": {"messages": [{"role": "user", "content": "My name is Ada Moreau."}]},
    }
    return {name: value for name, value in {**valid, **fields}.items() if value is not ...}


def problems(answer: Any) -> dict[str, str]:
    """Dotted location to kind of problem, of a 422 answer."""
    assert answer.status_code == 422, answer.text
    error = answer.json["error"]
    assert error["code"] == "validation_error"
    return {".".join(str(part) for part in problem["loc"]): problem["type"] for problem in error["details"]}
