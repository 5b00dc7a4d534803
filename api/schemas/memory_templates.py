"""Memory templates (contract: core §11)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.schemas.fields import SessionId, SubjectId
from pipelines.template_files import Template


class TemplateList(msgspec.Struct, frozen=True, kw_only=True):
    """All templates, in the order of their ids."""

    templates: list[Template]


class TemplatePath(msgspec.Struct, kw_only=True):
    """Names a template."""

    template_id: str


class TemplateFilledIn(msgspec.Struct, kw_only=True):
    """The values of a template's fields, and what they are about."""

    subject_id: SubjectId
    values: Annotated[dict[str, Any], Meta(description="Text by the name of its field.")] = {}
    session_id: SessionId | None = None
