"""Memory templates: forms that become well-written episodes (contract: core §11).

Five are bundled (`pipelines/templates`). Operators add their own as YAML files in `STATEWAVE_TEMPLATE_DIR`; all files
are read when the server starts, and a broken one keeps it from starting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from config.errors import FieldProblem, NotFound, ValidationFailed
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.template_files import PLACEHOLDER, Template, load_templates
from storage.rows import Episode

#: Source of the episodes that templates become.
SOURCE = "memory-template"


def find_template(services: Services, template_id: str) -> Template:
    """One template.

    Raises:
        NotFound: when there is none with this id.
    """
    template = load_templates(services.settings.template_dir).get(template_id)
    if template is None:
        raise NotFound(f"there is no memory template {template_id}")
    return template


def apply_template(
    services: Services,
    tenant_id: str,
    template_id: str,
    *,
    subject_id: str,
    values: Mapping[str, Any],
    session_id: str | None,
    request_id: str | None,
) -> Episode:
    """Fill a template in and store it as an episode of the subject.

    Raises:
        NotFound: when there is no such template.
        ValidationFailed: naming every value that is missing, unknown or no text.
    """
    template = find_template(services, template_id)
    fields = checked_values(template, values)
    payload = {
        "template_id": template.id,
        "template_version": template.version,
        "fields": fields,
        "content": render(template, fields),
    }
    (episode,) = append_episodes(
        services,
        tenant_id,
        [
            NewEpisode(
                subject_id=subject_id,
                session_id=session_id,
                source=SOURCE,
                type=template.episode_type,
                payload=payload,
                metadata={"template": {"id": template.id, "version": template.version}},
            )
        ],
        request_id=request_id,
    )
    return episode


def checked_values(template: Template, values: Mapping[str, Any]) -> dict[str, str]:
    """The values as text, in the order of the fields.

    Raises:
        ValidationFailed: naming every problem. A value of white space alone is missing.
    """
    problems: list[FieldProblem] = []
    known = {field.name: field for field in template.fields}
    for name, value in values.items():
        if name not in known:
            problems.append(_problem(name, f"is no field of {template.id}", "unknown_field"))
        elif not isinstance(value, str):
            problems.append(_problem(name, "must be text", "wrong_type"))
    for field in template.fields:
        value = values.get(field.name, "")
        if not isinstance(value, str):
            continue
        if field.required and not value.strip():
            problems.append(_problem(field.name, "is required", "missing"))
        elif field.type == "string" and "\n" in value.strip():
            problems.append(_problem(field.name, "must be a single line", "wrong_type"))
    if problems:
        named = "; ".join(f"{problem['loc'][-1]} {problem['msg']}" for problem in problems)
        raise ValidationFailed(f"the values do not fit the template: {named}", details=problems)
    return {name: values[name].strip() for name in known if values.get(name) and values[name].strip()}


def _problem(field: str, message: str, kind: str) -> FieldProblem:
    return {"loc": ["body", "values", field], "msg": message, "type": kind}


def render(template: Template, fields: Mapping[str, str]) -> str:
    """The text of a filled-in template; the same values always give the same text.

    A paragraph all of whose fields are missing is left out. Elsewhere a missing one goes with the brackets around it.
    Values are put in once: a brace in a value stays a brace.
    """
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", template.content_template):
        names = PLACEHOLDER.findall(paragraph)
        if names and not any(name in fields for name in names):
            continue
        for name in names:
            if name not in fields:
                paragraph = re.sub(rf" ?[(\[]\{{{name}\}}[)\]]|\{{{name}\}}", "", paragraph)
        filled = PLACEHOLDER.sub(lambda match: fields[match[1]], paragraph)
        paragraphs.append(filled.strip())
    return "\n\n".join(paragraphs)
