"""Assembling context."""

from __future__ import annotations

from api.operations import Call, Operation
from api.quotas import count_delivery, require_delivery
from api.schemas.context import ContextCreate, correlation
from pipelines.context import ContextBundle, ContextRequest
from pipelines.policy.in_force import caller_of
from pipelines.receipts.emission import context_with_receipt


def create(call: Call) -> ContextBundle:
    asked = call.body
    require_delivery(call)
    caller = caller_of(call.principal, asked.caller_id, asked.caller_type)
    request = ContextRequest(
        subject_id=asked.subject_id,
        task=asked.task,
        max_tokens=asked.max_tokens or call.services.settings.default_max_context_tokens,
        session_id=asked.session_id,
        caller_id=caller.id,
        caller_type=caller.type,
        explain=asked.explain,
        as_of=asked.as_of,
        known_at=asked.known_at,
    )
    bundle = context_with_receipt(
        call.services, call.tenant_id, request, asked=asked.emit_receipt, correlation=correlation(asked)
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
        scope="read",
        errors=(413, 422, 503),
    ),
]
