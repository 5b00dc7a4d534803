"""Reading a policy document, YAML or JSON: every problem with its line, nothing that could harm the reader.

A document is walked as a stream of events before anything is built from it, so aliases (with which a few lines say
billions of values), deep nesting and floods of nodes are refused at the first event too many.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from config.deferred import yaml

#: Characters of a document. A thousand rules with descriptions stay below.
MOST_CHARS = 256 * 1024

#: Levels that mappings and lists may be nested; the rules need four, metadata may use the others.
MOST_LEVELS = 16

#: Scalars, lists and mappings of a document.
MOST_NODES = 20_000

#: Problems that are reported at most.
MOST_PROBLEMS = 200

#: Digits of a number; longer ones are no version and no setting.
_MOST_DIGITS = 30

_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")

_CORE = "tag:yaml.org,2002:"


class BundleProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong, or doubtful, with a document. `line` counts from 1; `rule` is the id of the rule it is in."""

    line: int
    message: str
    rule: str | None = None


class Unreadable(Exception):
    """The document cannot be read at all."""

    def __init__(self, problem: BundleProblem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def compose(text: str) -> yaml.Node | None:
    """The document as nodes, which know their lines; None when it is empty.

    Raises:
        Unreadable: when it is not YAML, or more than a policy can need.
    """
    if len(text) > MOST_CHARS:
        raise _unreadable(1, f"the document is longer than {MOST_CHARS} characters")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise _unreadable(1, "the document holds half of a surrogate pair")
    # JSON writes characters beyond the first plane as two escapes, which YAML does not know.
    text = _PAIR.sub(_character, text)
    try:
        _walk(text)
        return yaml.compose(text, Loader=_loader())
    except yaml.MarkedYAMLError as ex:
        mark = ex.problem_mark or ex.context_mark
        raise _unreadable(
            mark.line + 1 if mark else 1, f"not YAML: {ex.problem or ex.context or 'unreadable'}"
        ) from None
    except yaml.YAMLError as ex:
        line = text.count("\n", 0, getattr(ex, "position", 0) or 0) + 1
        raise _unreadable(line, f"not YAML: {getattr(ex, 'reason', 'unreadable')}") from None
    except (ValueError, RecursionError):
        raise _unreadable(1, "not YAML: unreadable") from None


def plain(node: yaml.Node, problems: list[BundleProblem], *, rule: str | None = None) -> Any:
    """A node as what JSON knows. Dates stay the text they were written as."""
    if not isinstance(node, yaml.ScalarNode) and node.tag not in (f"{_CORE}map", f"{_CORE}seq"):
        problems.append(problem(node, f"the tag {shown(node.tag)} is not allowed", rule))
        return None
    if isinstance(node, yaml.MappingNode):
        return {
            key: plain(value, problems, rule=rule) for key, (_, value) in entries(node, problems, rule=rule).items()
        }
    if isinstance(node, yaml.SequenceNode):
        return [plain(item, problems, rule=rule) for item in node.value]
    return _scalar(node, problems, rule)


def entries(
    node: yaml.MappingNode, problems: list[BundleProblem], *, rule: str | None = None
) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Keys of a mapping with the nodes of key and value; a key that is there twice is a problem, not the last one."""
    found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_CORE}merge":
            problems.append(problem(key, "keys must be plain text", rule))
        elif key.value in found:
            problems.append(problem(key, f"{shown(key.value)} is there twice", rule))
        else:
            _check_text(key, problems, rule)
            found[key.value] = (key, value)
    return found


def problem(node: yaml.Node, message: str, rule: str | None = None) -> BundleProblem:
    """A problem at the line of a node."""
    return BundleProblem(line=node.start_mark.line + 1, message=message, rule=rule)


def shown(text: str) -> str:
    """A word of the document in a message, shortened, quoted."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def is_text(node: yaml.Node) -> bool:
    """Whether the node is a string."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_CORE}str"


def _walk(text: str) -> None:
    levels = nodes = 0
    for event in yaml.parse(text, Loader=_loader()):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _unreadable(line, "anchors and aliases are not allowed in a policy")
        if isinstance(event, yaml.CollectionStartEvent):
            levels += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            levels -= 1
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        nodes += 1
        if levels > MOST_LEVELS:
            raise _unreadable(line, f"nested deeper than {MOST_LEVELS} levels")
        if nodes > MOST_NODES:
            raise _unreadable(line, f"more than {MOST_NODES} values")


def _scalar(node: yaml.Node, problems: list[BundleProblem], rule: str | None) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix(_CORE)
    if kind in ("str", "timestamp"):
        _check_text(node, problems, rule)
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        if kind == "int" and len(text) <= _MOST_DIGITS:
            return yaml.constructor.SafeConstructor().construct_yaml_int(node)
        if kind == "float" and len(text) <= _MOST_DIGITS:
            number = yaml.constructor.SafeConstructor().construct_yaml_float(node)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    known = kind in ("int", "float")
    problems.append(
        problem(node, f"{shown(text)} is no number" if known else f"the tag {shown(node.tag)} is not allowed", rule)
    )
    return None


def _check_text(node: yaml.Node, problems: list[BundleProblem], rule: str | None) -> None:
    if "\x00" in node.value or any("\ud800" <= char <= "\udfff" for char in node.value):
        problems.append(problem(node, "text must hold neither NUL nor half of a surrogate pair", rule))


def _character(pair: re.Match[str]) -> str:
    units = bytes.fromhex(pair[2] + pair[3])
    return pair[1] + units.decode("utf-16-be")


def _unreadable(line: int, message: str) -> Unreadable:
    return Unreadable(BundleProblem(line=line, message=message))


def _loader() -> Any:
    """PyYAML's reader in C, where it was built with one."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
