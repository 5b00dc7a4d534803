"""Reading memory templates from YAML files, strictly: whatever is wrong is named with its file and line.

A file holds one mapping: `id`, `version`, `title`, `description`, `episode_type`, `fields` (each `name`, `type`,
`required`, `description`) and `content_template`, whose `{name}` placeholders are its fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from config.deferred import yaml
from config.settings import ConfigurationError, variable

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_FIELD_NAME = re.compile(r"[A-Za-z0-9_]+")

#: Limit of an episode's type (contract: core §5.1).
_MAX_EPISODE_TYPE = 128

_KEYS = ("id", "version", "title", "description", "episode_type", "fields", "content_template")
_FIELD_KEYS = ("name", "type", "required", "description")


class TemplateField(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is asked for. `text` may have several lines, `string` is one."""

    name: str
    type: Literal["string", "text"]
    required: bool
    description: str


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A form that becomes one episode."""

    id: str
    version: int
    title: str
    description: str
    episode_type: str
    fields: list[TemplateField]
    content_template: str


class BrokenTemplate(Exception):
    """A template file that cannot be used: `file:line: what is wrong`."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}:{line}: {reason}")


@cache
def load_templates(template_dir: str | None) -> Mapping[str, Template]:
    """The bundled templates and those of the operator's folder, by id, in the order of their ids.

    Raises:
        ConfigurationError: when a file is broken, with its line, or takes an id that is taken.
    """
    templates: dict[str, Template] = {}
    problems: list[str] = []
    for name, read in _files(template_dir):
        try:
            template = parse_template(read, name=name)
        except BrokenTemplate as ex:
            problems.append(f"{variable('template_dir')}: {ex}")
            continue
        if template.id in templates:
            problems.append(
                f"{variable('template_dir')}: {name}:1: there is another template with the id {template.id}"
            )
        templates.setdefault(template.id, template)
    if problems:
        raise ConfigurationError(problems)
    return MappingProxyType(dict(sorted(templates.items())))


def parse_template(text: str, *, name: str) -> Template:
    """Read one file.

    Args:
        name: What the file is called in messages.

    Raises:
        BrokenTemplate: with the line of the first fault.
    """
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as ex:
        mark = ex.problem_mark or ex.context_mark
        raise BrokenTemplate(name, mark.line + 1 if mark else 1, f"not YAML: {ex.problem or ex}") from None
    except yaml.YAMLError as ex:
        raise BrokenTemplate(name, 1, f"not YAML: {ex}") from None
    return _Reader(name).template(document)


class _Reader:
    """Walks the nodes of one document; nodes know their lines, which plain values do not."""

    def __init__(self, name: str) -> None:
        self._name = name

    def template(self, document: yaml.Node | None) -> Template:
        if document is None:
            raise BrokenTemplate(self._name, 1, "the file is empty")
        keys = self._mapping(document, _KEYS)
        template = Template(
            id=self._text(keys["id"], _ID, "lower-case words joined by dashes"),
            version=self._version(keys["version"]),
            title=self._text(keys["title"]),
            description=self._text(keys["description"]),
            episode_type=self._text(
                keys["episode_type"], re.compile(rf".{{1,{_MAX_EPISODE_TYPE}}}"), "128 characters at most"
            ),
            fields=self._fields(keys["fields"]),
            content_template=self._text(keys["content_template"]),
        )
        self._check_placeholders(template, keys["content_template"])
        return template

    def _fields(self, node: yaml.Node) -> list[TemplateField]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self._broken(node, "fields must be a list with at least one field")
        fields: list[TemplateField] = []
        for item in node.value:
            keys = self._mapping(item, _FIELD_KEYS)
            field = TemplateField(
                name=self._text(keys["name"], _FIELD_NAME, "letters, digits and underscores"),
                type=self._type(keys["type"]),
                required=self._boolean(keys["required"]),
                description=self._text(keys["description"]),
            )
            if any(field.name == other.name for other in fields):
                raise self._broken(keys["name"], f"field {field.name} is declared twice")
            fields.append(field)
        return fields

    def _mapping(self, node: yaml.Node, expected: tuple[str, ...]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._broken(node, f"expected a mapping with the keys {', '.join(expected)}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in expected:
                raise self._broken(key, f"unknown key {key.value!r}; known are {', '.join(expected)}")
            if key.value in found:
                raise self._broken(key, f"{key.value} is given twice")
            found[key.value] = value
        missing = [key for key in expected if key not in found]
        if missing:
            raise self._broken(node, f"{', '.join(missing)} missing")
        return found

    def _text(self, node: yaml.Node, pattern: re.Pattern[str] | None = None, rule: str = "") -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str" or not node.value.strip():
            raise self._broken(node, "expected text that is not empty (quote it if YAML reads it as something else)")
        value = str(node.value).strip()
        if pattern is not None and not pattern.fullmatch(value):
            raise self._broken(node, f"{value!r} must be {rule}")
        return value

    def _version(self, node: yaml.Node) -> int:
        if node.tag != "tag:yaml.org,2002:int" or not re.fullmatch(r"[1-9]\d{0,8}", str(node.value)):
            raise self._broken(node, "version must be a whole number from 1")
        return int(node.value)

    def _type(self, node: yaml.Node) -> Literal["string", "text"]:
        value = self._text(node)
        if value == "string":
            return "string"
        if value == "text":
            return "text"
        raise self._broken(node, f"type {value!r} must be string or text")

    def _boolean(self, node: yaml.Node) -> bool:
        if node.tag != "tag:yaml.org,2002:bool":
            raise self._broken(node, "required must be true or false")
        return str(node.value).lower() in ("true", "yes", "on")

    def _check_placeholders(self, template: Template, node: yaml.Node) -> None:
        names = PLACEHOLDER.findall(template.content_template)
        declared = [field.name for field in template.fields]
        if re.search(r"[{}]", PLACEHOLDER.sub("", template.content_template)):
            raise self._broken(node, "content_template has a brace that belongs to no placeholder")
        for name in names:
            if name not in declared:
                raise self._broken(node, f"content_template names {{{name}}}, which is no field")
        for name in declared:
            if name not in names:
                raise self._broken(node, f"content_template does not use field {name}, so its value would be lost")

    def _broken(self, node: Any, reason: str) -> BrokenTemplate:
        return BrokenTemplate(self._name, node.start_mark.line + 1, reason)


def _files(template_dir: str | None) -> Iterator[tuple[str, str]]:
    """(name in messages, text) of every template file."""
    bundled = resources.files("pipelines") / "templates"
    for entry in sorted(bundled.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            yield entry.name, entry.read_text(encoding="utf-8")
    if template_dir is None:
        return
    folder = Path(template_dir)
    if not folder.is_dir():
        raise ConfigurationError([f"{variable('template_dir')}: there is no folder {template_dir}"])
    for path in sorted(folder.iterdir()):
        if path.suffix in (".yaml", ".yml"):
            try:
                yield str(path), path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as ex:
                raise ConfigurationError([f"{variable('template_dir')}: {path}:1: cannot be read: {ex}"]) from None
