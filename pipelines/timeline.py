"""The timeline: what happened to a subject and what is known of it, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pipelines.services import Services
from storage import timeline
from storage.rows import Episode, Memory
from storage.transactions import tenant_transaction


class TimelinePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page, oldest first, with flags that say whether the lists go on."""

    episodes: list[Episode]
    memories: list[Memory]
    episodes_has_more: bool
    memories_has_more: bool


def read_timeline(
    services: Services,
    tenant_id: str,
    *,
    subject_id: str,
    limit: int,
    offset: int = 0,
    newest_first: bool = False,
    status: str = "all",
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Sequence[str] | None = None,
) -> TimelinePage:
    """One page of a subject's episodes and memories.

    `limit` and `offset` hold for each list on its own. `newest_first` takes the page from the newest end; inside the
    page the order stays oldest first.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        episodes, memories = timeline.page(
            conn,
            tenant_id,
            subject_id,
            limit=limit,
            offset=offset,
            newest_first=newest_first,
            active_only=status == "active",
            since=since,
            until=until,
            kinds=kinds,
        )
    page = TimelinePage(
        episodes=episodes[:limit],
        memories=memories[:limit],
        episodes_has_more=len(episodes) > limit,
        memories_has_more=len(memories) > limit,
    )
    if newest_first:
        page.episodes.reverse()
        page.memories.reverse()
    return page
