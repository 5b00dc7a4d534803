"""Receipts as they are asked for and answered (contract: governance §2.9, §2.14; audit and keys are our own)."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import TenantId
from api.schemas.fields import Moment, SubjectId, as_utc
from pipelines.receipts.reading import Delivered
from pipelines.receipts.replay import Memories

ReceiptId = Annotated[
    str,
    Meta(min_length=1, max_length=26, description="A ULID: 26 characters.", examples=["01JGXZ4T3M8V5N2Q7R9B6C1D0E"]),
]
_Limit = Annotated[int, Meta(ge=1, le=200, description="Receipts at most.")]
_Cursor = Annotated[str, Meta(max_length=26, description="`next_cursor` of the page before.")]

#: A receipt. It is one document, signed as a whole; docs/receipts.md names its keys.
Receipt = Annotated[dict[str, Any], Meta(description="A receipt, exactly as it was signed; docs/receipts.md.")]


class ReceiptPath(msgspec.Struct, kw_only=True):
    """Which receipt."""

    receipt_id: ReceiptId


class Span(msgspec.Struct, kw_only=True):
    """From when to when receipts were written; both ends included."""

    since: Moment | None = None
    until: Moment | None = None

    def __post_init__(self) -> None:
        self.since = as_utc(self.since) if self.since else None
        self.until = as_utc(self.until) if self.until else None


class DeliveredQuery(Span, kw_only=True):
    """What was delivered, and to whom."""

    memory_id: Annotated[UUID, Meta(description="Only those by which this memory was delivered.")] | None = None
    episode_id: Annotated[UUID, Meta(description="Only those by which this episode was delivered.")] | None = None
    caller_id: Annotated[str, Meta(max_length=256, description="Only what was delivered to this caller.")] | None = None

    @property
    def delivered(self) -> Delivered:
        return Delivered(memory_id=self.memory_id, episode_id=self.episode_id, caller_id=self.caller_id)


class ReceiptsQuery(DeliveredQuery, kw_only=True):
    """Which receipts of a subject, newest first."""

    subject_id: SubjectId
    cursor: _Cursor | None = None
    limit: _Limit = 50
    include_tombstoned: Annotated[bool, Meta(description="Also those that are past their retention.")] = False


class AdminReceiptsQuery(DeliveredQuery, kw_only=True):
    """Which receipts, newest first; a subject or a tenant must be named."""

    subject_id: SubjectId | None = None
    tenant_id: TenantId | None = None
    cursor: _Cursor | None = None
    limit: _Limit = 50


class AuditQuery(Span, kw_only=True):
    """Which stretch of a tenant's chain. Without a tenant it is that of requests without a tenant header."""

    tenant_id: TenantId | None = None
    cursor: Annotated[str, Meta(max_length=18, description="`next_cursor` of the stretch before.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=5000, description="Receipts that are checked at most.")] = 1000


class ReceiptPage(msgspec.Struct, kw_only=True):
    """One page; `next_cursor` is null at the end."""

    receipts: list[Receipt]
    next_cursor: str | None


class AdminReceiptPage(ReceiptPage, kw_only=True):
    """One page as operators see it: the documents alone, without what reading adds."""

    limit: int


class ReceiptReplay(msgspec.Struct, kw_only=True):
    """Which memories a replay sees: those of now, or those that were there when the receipt was written."""

    memories: Memories = "current"


class PublicKey(msgspec.Struct, kw_only=True):
    """A key that signatures of receipts are checked with (RFC 8037)."""

    kty: str
    crv: str
    alg: str
    use: str
    kid: str
    x: str


class PublicKeys(msgspec.Struct, kw_only=True):
    """A JSON Web Key Set."""

    keys: list[PublicKey]


class SubjectReceipts(msgspec.Struct, kw_only=True):
    """A subject's receipts in a few words."""

    items: list[Any]
    total: int


class Regression(msgspec.Struct, kw_only=True):
    """What became of the memories that a receipt names."""

    receipt_id: str
    receipt_as_of: str | None
    stable: list[dict[str, str]]
    dropped: list[dict[str, str]]
    new_memories: list[dict[str, str]]
