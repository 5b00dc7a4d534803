"""Memory templates: forms that become episodes."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.memory_templates import TemplateFilledIn, TemplateList, TemplatePath
from pipelines.memory_templates import apply_template, find_template
from pipelines.template_files import Template, load_templates
from storage.rows import Episode


def list_all(call: Call) -> TemplateList:
    return TemplateList(templates=list(load_templates(call.services.settings.template_dir).values()))


def find(call: Call) -> Template:
    return find_template(call.services, call.path.template_id)


def apply(call: Call) -> Episode:
    return apply_template(
        call.services,
        call.tenant_id,
        call.path.template_id,
        subject_id=call.body.subject_id,
        values=call.body.values,
        session_id=call.body.session_id,
        request_id=call.request_id,
    )


OPERATIONS = [
    Operation(
        "GET",
        "/v1/memory-templates",
        "List the memory templates",
        list_all,
        {200: TemplateList},
        tag="Memory templates",
        errors=(503,),
    ),
    Operation(
        "GET",
        "/v1/memory-templates/{template_id}",
        "One memory template",
        find,
        {200: Template},
        tag="Memory templates",
        path_fields=TemplatePath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/v1/memory-templates/{template_id}/apply",
        "Fill a memory template in and store it as an episode",
        apply,
        {201: Episode},
        tag="Memory templates",
        path_fields=TemplatePath,
        body=TemplateFilledIn,
        errors=(404, 413, 422, 503),
    ),
]
