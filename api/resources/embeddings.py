"""The embedding model, for operators: how it is read, changed, and changed back."""

from __future__ import annotations

from api.operations import Call, Operation, Reply
from api.schemas.embeddings import EmbeddingsMigrate, VectorsPruned
from config.errors import BadRequest
from pipelines import embedding_change, embedding_status
from pipelines.embedding_status import EmbeddingStatus
from storage.embedding_changes import EmbeddingChange


def status(call: Call) -> EmbeddingStatus:
    return embedding_status.status(call.services.pool, configured_model=_configured(call))


def migrate(call: Call) -> Reply:
    target = call.body.model or _configured(call)
    if target is None:
        raise BadRequest("STATEWAVE_EMBEDDING_PROVIDER is none: name the model to change to", code="no_model")
    change = embedding_change.begin_change(
        call.services.pool, target=target, actor=call.principal.name, request_id=call.request_id
    )
    return Reply(change, 202)


def rollback(call: Call) -> EmbeddingChange:
    return embedding_change.roll_back(call.services.pool, actor=call.principal.name, request_id=call.request_id)


def prune(call: Call) -> VectorsPruned:
    deleted = embedding_change.prune(call.services.pool, actor=call.principal.name, request_id=call.request_id)
    return VectorsPruned(blocks_deleted=deleted)


def _configured(call: Call) -> str | None:
    return call.services.embedder.model if call.services.embedder else None


OPERATIONS = [
    Operation(
        "GET",
        "/admin/embeddings",
        "With which models subjects are read, and how far a change is",
        status,
        {200: EmbeddingStatus},
        tag="Operators",
        is_about_the_server=True,
        errors=(503,),
    ),
    Operation(
        "POST",
        "/admin/embeddings/migrate",
        "Move all subjects to another embedding model, while they are read",
        migrate,
        {202: EmbeddingChange},
        tag="Operators",
        is_about_the_server=True,
        body=EmbeddingsMigrate,
        errors=(400, 409, 413, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/embeddings/rollback",
        "Have all subjects read with the former model again",
        rollback,
        {200: EmbeddingChange},
        tag="Operators",
        is_about_the_server=True,
        errors=(404, 503),
    ),
    Operation(
        "POST",
        "/admin/embeddings/prune",
        "Delete the vectors that nobody reads, which ends the change for good",
        prune,
        {200: VectorsPruned},
        tag="Operators",
        is_about_the_server=True,
        errors=(404, 409, 503),
    ),
]
