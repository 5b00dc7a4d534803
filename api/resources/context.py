"""Assembling context."""

from __future__ import annotations

from api.operations import Call, Operation
from api.quotas import count_delivery, require_delivery
from api.schemas.context import ContextCreate
from pipelines.context import ContextBundle, ContextRequest, assemble_context


def create(call: Call) -> ContextBundle:
    asked = call.body
    require_delivery(call)
    bundle = assemble_context(
        call.services,
        call.tenant_id,
        ContextRequest(
            subject_id=asked.subject_id,
            task=asked.task,
            max_tokens=asked.max_tokens or call.services.settings.default_max_context_tokens,
            session_id=asked.session_id,
            caller_id=asked.caller_id,
            caller_type=asked.caller_type,
            explain=asked.explain,
        ),
    )
    count_delivery(call, bundle.token_estimate)
    return bundle


OPERATIONS = [
    Operation(
        "POST",
        "/v1/context",
        "What an agent should know for its task, within its budget",
        create,
        {200: ContextBundle},
        tag="Context",
        body=ContextCreate,
        errors=(413, 422, 503),
    ),
]
