"""Asking the configured language model."""

from __future__ import annotations

from api.operations import Call, Operation
from api.schemas.llm import ChatCreate
from pipelines.chat import ChatAnswer, chat
from pipelines.providers.calls import Message


def complete(call: Call) -> ChatAnswer:
    asked = call.body
    return chat(
        call.services,
        call.tenant_id,
        [Message(message.role, message.content) for message in asked.messages],
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
    )


OPERATIONS = [
    Operation(
        "POST",
        "/v1/llm/complete",
        "Ask the configured language model",
        complete,
        {200: ChatAnswer},
        tag="Language model",
        body=ChatCreate,
        errors=(413, 422, 429, 502, 503, 504),
    ),
]
