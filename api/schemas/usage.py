"""What operators ask about use."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import msgspec
from msgspec import Meta

from api.schemas.admin_subjects import TenantId
from storage.provider_usage import GroupBy


class UsageQuery(msgspec.Struct, kw_only=True):
    """Whose use, and of which days what providers cost."""

    tenant_id: TenantId | None = None
    first: (
        Annotated[date, Meta(description="First day (UTC) of what providers cost; without it the month's.")] | None
    ) = msgspec.field(name="from", default=None)
    last: Annotated[date, Meta(description="Last day (UTC); without it today.")] | None = msgspec.field(
        name="to", default=None
    )
    group_by: Annotated[GroupBy, Meta(description="What the costs are summed by.")] = "model"
    limit: Annotated[int, Meta(ge=1, le=1000, description="Groups at most, the dearest first.")] = 100
