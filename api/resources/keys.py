"""API keys of tenants and of operators."""

from __future__ import annotations

from datetime import timedelta

from api.operations import Call, Operation
from api.schemas.fields import DEFAULT_TENANT
from api.schemas.keys import KeyCreate, KeyList, KeyPath, KeyRotate, KeysQuery, NewKeyAnswer
from api.tenants import named_tenant
from pipelines import keys
from storage.api_keys import KeyView


def create(call: Call) -> NewKeyAnswer:
    asked = call.body
    new = keys.NewKey(
        name=asked.name,
        tenant_id="" if asked.tenant_id == DEFAULT_TENANT else asked.tenant_id,
        scopes=asked.scopes,
        expires_at=asked.expires_at,
        caller_id=asked.caller_id,
        caller_type=asked.caller_type,
    )
    made, key = keys.create(call.services.pool, new, by=call.principal, request_id=call.request_id)
    return NewKeyAnswer(key=key, details=made)


def list_page(call: Call) -> KeyList:
    query = call.query
    page, cursor = keys.list_keys(
        call.services.pool,
        tenant_id=named_tenant(call, query.tenant_id),
        operators_only=query.operators,
        include_over=query.include_over,
        cursor=query.cursor,
        limit=query.limit,
    )
    return KeyList(keys=list(page), next_cursor=cursor)


def show(call: Call) -> KeyView:
    return keys.show(call.services.pool, call.path.key_id)


def rotate(call: Call) -> NewKeyAnswer:
    made, key = keys.rotate(
        call.services.pool,
        call.path.key_id,
        overlap=timedelta(seconds=call.body.overlap_seconds),
        by=call.principal,
        request_id=call.request_id,
    )
    return NewKeyAnswer(key=key, details=made)


def revoke(call: Call) -> KeyView:
    return keys.revoke(call.services.pool, call.path.key_id, by=call.principal, request_id=call.request_id)


OPERATIONS = [
    Operation(
        "POST",
        "/admin/keys",
        "Make a key; it is shown this once",
        create,
        {201: NewKeyAnswer},
        tag="Keys",
        body=KeyCreate,
        errors=(409, 413, 422, 503),
    ),
    Operation(
        "GET",
        "/admin/keys",
        "List keys, the newest first",
        list_page,
        {200: KeyList},
        tag="Keys",
        query=KeysQuery,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/admin/keys/{key_id}",
        "One key, without its secret",
        show,
        {200: KeyView},
        tag="Keys",
        path_fields=KeyPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/keys/{key_id}/rotate",
        "Replace a key by a new one; the old one works a while longer",
        rotate,
        {201: NewKeyAnswer},
        tag="Keys",
        path_fields=KeyPath,
        body=KeyRotate,
        errors=(404, 409, 413, 422, 503),
    ),
    Operation(
        "DELETE",
        "/admin/keys/{key_id}",
        "Revoke a key: no server accepts it from this moment on",
        revoke,
        {200: KeyView},
        tag="Keys",
        path_fields=KeyPath,
        errors=(404, 422, 503),
    ),
]
