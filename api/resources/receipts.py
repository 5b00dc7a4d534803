"""Receipts: reading, verifying and replaying them (contract: governance §2.9 to §2.12)."""

from __future__ import annotations

from typing import Any

from api.operations import Call, Operation
from api.schemas.receipts import PublicKey, PublicKeys, Receipt, ReceiptPage, ReceiptPath, ReceiptReplay, ReceiptsQuery
from pipelines.receipts import reading, replay
from pipelines.receipts.replay import ReplayOutcome
from pipelines.receipts.signing import Verification, keyring_of, public_keys

TAG = "Receipts"


def list_page(call: Call) -> ReceiptPage:
    query = call.query
    page, cursor = reading.list_receipts(
        call.services,
        call.tenant_id,
        subject_id=query.subject_id,
        since=query.since,
        until=query.until,
        cursor=query.cursor,
        limit=query.limit,
        include_tombstoned=query.include_tombstoned,
        delivered=query.delivered,
    )
    return ReceiptPage(receipts=page, next_cursor=cursor)


def find(call: Call) -> dict[str, Any]:
    return reading.with_status(reading.find(call.services, call.tenant_id, call.path.receipt_id))


def verify(call: Call) -> Verification:
    row = reading.find(call.services, call.tenant_id, call.path.receipt_id)
    return reading.verify(call.services.settings, row)


def replay_one(call: Call) -> ReplayOutcome:
    row = reading.find(call.services, call.tenant_id, call.path.receipt_id)
    return replay.replay(call.services, row, memories=call.body.memories)


def keys(call: Call) -> PublicKeys:
    return PublicKeys(keys=[PublicKey(**key) for key in public_keys(keyring_of(call.services.settings))])


OPERATIONS = [
    Operation(
        "GET",
        "/v1/receipts",
        "What was delivered of a subject, newest first",
        list_page,
        {200: ReceiptPage},
        tag=TAG,
        query=ReceiptsQuery,
        errors=(422, 503),
    ),
    Operation(
        "GET",
        "/v1/receipts/keys",
        "Public keys that receipts are checked with",
        keys,
        {200: PublicKeys},
        tag=TAG,
        is_public=True,
        errors=(429,),
        description="A JSON Web Key Set of the Ed25519 keys. `statewave receipts verify` takes it.",
    ),
    Operation(
        "GET",
        "/v1/receipts/{receipt_id}",
        "One receipt",
        find,
        {200: Receipt},
        tag=TAG,
        path_fields=ReceiptPath,
        errors=(404, 422, 503),
        description="Also when it is past its retention and no longer listed.",
    ),
    Operation(
        "GET",
        "/v1/receipts/{receipt_id}/verify",
        "Whether a receipt is what was signed",
        verify,
        {200: Verification},
        tag=TAG,
        path_fields=ReceiptPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/v1/receipts/{receipt_id}/replay",
        "Ask the same again, and compare",
        replay_one,
        {200: ReplayOutcome},
        tag=TAG,
        path_fields=ReceiptPath,
        body=ReceiptReplay,
        body_is_optional=True,
        scope="read",
        errors=(404, 413, 422, 503),
        description="With the memories of now, or (`as_recorded`) with those of then, byte for byte.",
    ),
]
