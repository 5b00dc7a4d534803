"""The audit log as operators ask for it."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from api.schemas.fields import Moment
from storage.audit import AuditEntry


class AuditQuery(msgspec.Struct, kw_only=True):
    """Which entries, newest first, and in which form."""

    actor: Annotated[str, Meta(description="Name of a key, `shared-key`, `anonymous` or `shell:user`.")] | None = None
    action: Annotated[str, Meta(examples=["key.revoke", "POST /admin/runs/retry"])] | None = None
    tenant_id: Annotated[str, Meta(max_length=256, description="Only what touched this tenant.")] | None = None
    since: Moment | None = None
    until: Annotated[Moment, Meta(description="Up to, but without it.")] | None = None
    cursor: Annotated[UUID, Meta(description="`next_cursor` of the page before.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="Entries of a page at most; an export has no limit.")] = 100
    format: Annotated[
        Literal["json", "jsonl"], Meta(description="`jsonl` streams all entries that match, one per line.")
    ] = "json"


class AuditPage(msgspec.Struct, kw_only=True):
    """A page of the log."""

    entries: list[AuditEntry]
    next_cursor: UUID | None
