"""From a policy document to a bundle, with all that is wrong with it and all that is doubtful about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from config.deferred import yaml
from pipelines.policy.bundle import (
    CALLER_TEXTS,
    LABEL_PREDICATES,
    PREDICATES,
    Action,
    Bundle,
    Rule,
    bundle_hash,
    normal_label,
)
from pipelines.policy.document import (
    MOST_PROBLEMS,
    BundleProblem,
    Unreadable,
    compose,
    entries,
    is_text,
    plain,
    problem,
    shown,
)
from pipelines.policy.reachability import never_reached

#: Rules of a bundle. Evaluation looks at each for every set of labels.
MOST_RULES = 1000

#: Strings of one predicate.
MOST_NAMES = 200

#: Characters of an id of a rule, a label or a caller; of a description.
MOST_NAME_CHARS = 256
MOST_DESCRIPTION_CHARS = 2000

_TOP = ("version", "metadata", "rules")
_RULE = ("id", "description", "when", "action")


@dataclass(slots=True)
class Reading:
    """What reading a document gave: a bundle if there are no problems. Warnings do not stop it from working."""

    bundle: Bundle | None = None
    problems: list[BundleProblem] = field(default_factory=list)
    warnings: list[BundleProblem] = field(default_factory=list)


def read_bundle(text: str) -> Reading:
    """Read a policy document. Nothing is raised whatever the text is."""
    reading = Reading()
    try:
        document = compose(text)
    except Unreadable as ex:
        reading.problems.append(ex.problem)
        return reading
    if document is None:
        reading.problems.append(BundleProblem(line=1, message="the document is empty"))
        return reading
    _Reader(reading).read(document)
    del reading.problems[MOST_PROBLEMS:]
    del reading.warnings[MOST_PROBLEMS:]
    return reading


class _Reader:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._problems = reading.problems
        self._lines: dict[str, int] = {}

    def read(self, document: yaml.Node) -> None:
        if not isinstance(document, yaml.MappingNode):
            self._problems.append(problem(document, "a policy is a mapping with version and rules"))
            return
        keys = entries(document, self._problems)
        self._unknown(keys, _TOP, None)
        version = self._version(document, keys)
        metadata = self._metadata(keys)
        rules = self._rules(document, keys)
        if self._problems:
            return
        self._reading.bundle = Bundle(
            bundle_hash=bundle_hash(
                version=version,
                metadata=metadata,
                rules=[{name: getattr(rule, name) for name in _RULE} for rule in rules],
            ),
            version=version,
            metadata=metadata,
            rules=tuple(rules),
        )
        for rule, reason in never_reached(rules):
            self._reading.warnings.append(
                BundleProblem(line=self._lines[rule.id], message=f"never reached: {reason}", rule=rule.id)
            )

    def _unknown(self, keys: dict[str, Any], known: tuple[str, ...], rule: str | None) -> None:
        for name, (key, _) in keys.items():
            if name not in known:
                self._reading.warnings.append(
                    problem(key, f"{shown(name)} means nothing and is no part of the hash", rule)
                )

    def _version(self, document: yaml.Node, keys: dict[str, Any]) -> int:
        if "version" not in keys:
            self._problems.append(problem(document, "version is missing; it must be 1"))
            return 0
        node = keys["version"][1]
        value = plain(node, [])
        if type(value) is not int or value != 1:
            self._problems.append(problem(node, "version must be 1"))
        return 1

    def _metadata(self, keys: dict[str, Any]) -> dict[str, Any]:
        if "metadata" not in keys:
            return {}
        node = keys["metadata"][1]
        value = plain(node, self._problems)
        if isinstance(value, dict):
            return value
        if value is not None:
            self._problems.append(problem(node, "metadata must be a mapping"))
        return {}

    def _rules(self, document: yaml.Node, keys: dict[str, Any]) -> list[Rule]:
        if "rules" not in keys:
            self._problems.append(problem(document, "rules is missing; it may be an empty list"))
            return []
        node = keys["rules"][1]
        if not isinstance(node, yaml.SequenceNode):
            self._problems.append(problem(node, "rules must be a list"))
            return []
        if len(node.value) > MOST_RULES:
            self._problems.append(problem(node, f"more than {MOST_RULES} rules"))
            return []
        rules = [self._rule(item, number) for number, item in enumerate(node.value, 1)]
        return [rule for rule in rules if rule is not None]

    def _rule(self, node: yaml.Node, number: int) -> Rule | None:
        if not isinstance(node, yaml.MappingNode):
            self._problems.append(problem(node, f"rule {number} must be a mapping"))
            return None
        keys = entries(node, self._problems)
        id = self._id(node, keys, number)
        named = id or f"number {number}"
        self._unknown(keys, _RULE, named)
        description = self._description(keys, named)
        action = self._action(node, keys, named)
        conditions = self._when(node, keys, named)
        if id is None or action is None or conditions is None:
            return None
        written = {name: plain(value, []) for name, (_, value) in entries(keys["when"][1], []).items()}
        return Rule(id=id, description=description, action=action, when=written, **conditions)

    def _id(self, node: yaml.Node, keys: dict[str, Any], number: int) -> str | None:
        if "id" not in keys:
            self._problems.append(problem(node, f"rule {number} has no id"))
            return None
        value = keys["id"][1]
        id = self._name(value, f"the id of rule {number}", None)
        if id is None:
            return None
        if id in self._lines:
            self._problems.append(
                problem(value, f"the id {shown(id)} is taken by the rule in line {self._lines[id]}", id)
            )
            return None
        self._lines[id] = node.start_mark.line + 1
        return id

    def _description(self, keys: dict[str, Any], rule: str) -> str:
        if "description" not in keys:
            return ""
        node = keys["description"][1]
        value = plain(node, self._problems, rule=rule)
        if value is None:
            return ""
        if not is_text(node) or len(value) > MOST_DESCRIPTION_CHARS:
            self._problems.append(
                problem(node, f"description must be text of at most {MOST_DESCRIPTION_CHARS} characters", rule)
            )
            return ""
        return str(value)

    def _action(self, node: yaml.Node, keys: dict[str, Any], rule: str) -> Action | None:
        if "action" not in keys:
            self._problems.append(problem(node, "action is missing; it must be deny or redact", rule))
            return None
        value = keys["action"][1]
        if is_text(value) and value.value in ("deny", "redact"):
            return "deny" if value.value == "deny" else "redact"
        self._problems.append(problem(value, "action must be deny or redact", rule))
        return None

    def _when(self, node: yaml.Node, keys: dict[str, Any], rule: str) -> dict[str, Any] | None:
        if "when" not in keys:
            self._problems.append(problem(node, "when is missing", rule))
            return None
        when = keys["when"][1]
        if not isinstance(when, yaml.MappingNode) or not when.value:
            self._problems.append(
                problem(when, f"when must be a mapping with at least one of {', '.join(PREDICATES)}", rule)
            )
            return None
        before = len(self._problems)
        conditions: dict[str, Any] = {}
        for name, (key, value) in entries(when, self._problems, rule=rule).items():
            if name not in PREDICATES:
                self._problems.append(
                    problem(key, f"{shown(name)} is no predicate; there are {', '.join(PREDICATES)}", rule)
                )
            elif name in CALLER_TEXTS:
                conditions[name] = self._name(value, name, rule)
            elif name in LABEL_PREDICATES:
                conditions[f"{name.split('_')[2]}_labels"] = self._labels(value, name, rule)
            else:
                conditions[name] = frozenset(self._names(value, name, rule))
        return conditions if len(self._problems) == before else None

    def _labels(self, node: yaml.Node, name: str, rule: str) -> frozenset[str]:
        labels = self._names(node, name, rule)
        for written in labels:
            if normal_label(written) != written:
                self._reading.warnings.append(
                    problem(
                        node,
                        f"{shown(written)} is compared as {shown(normal_label(written))}, as labels are stored",
                        rule,
                    )
                )
        return frozenset(map(normal_label, labels))

    def _names(self, node: yaml.Node, name: str, rule: str) -> list[str]:
        if not isinstance(node, yaml.SequenceNode) or not 1 <= len(node.value) <= MOST_NAMES:
            self._problems.append(problem(node, f"{name} must be a list of 1 to {MOST_NAMES} strings", rule))
            return []
        names = [self._name(item, f"an item of {name}", rule) for item in node.value]
        return [item for item in names if item is not None]

    def _name(self, node: yaml.Node, what: str, rule: str | None) -> str | None:
        if not is_text(node):
            self._problems.append(problem(node, f"{what} must be a string", rule))
            return None
        text = str(node.value)
        if not text.strip() or len(text) > MOST_NAME_CHARS or not text.isprintable():
            self._problems.append(
                problem(node, f"{what} must be 1 to {MOST_NAME_CHARS} printable characters, not only spaces", rule)
            )
            return None
        return text
