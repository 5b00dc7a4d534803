"""The timeline: what happened to a subject and what is known of it, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pipelines.policy.evaluation import ANONYMOUS, Caller
from pipelines.policy.in_force import reading_as
from pipelines.services import Services
from storage import timeline
from storage.rows import Episode, Memory


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
    caller: Caller = ANONYMOUS,
) -> TimelinePage:
    """One page of a subject's episodes and memories.

    `limit` and `offset` hold for each list on its own. `newest_first` takes the page from the newest end; inside the
    page the order stays oldest first. What the policy hides from the caller is on no page.
    """
    with reading_as(services, tenant_id, caller, subject_id=subject_id) as reader:
        visibility = reader.visibility(subject_id)
        episodes, memories = timeline.page(
            reader.conn,
            tenant_id,
            subject_id,
            limit=limit,
            offset=offset,
            newest_first=newest_first,
            active_only=status == "active",
            since=since,
            until=until,
            kinds=kinds,
            listed_episodes=visibility.listed_episodes,
            listed_memories=visibility.listed_memories,
        )
    page = TimelinePage(
        episodes=episodes[:limit],
        memories=[visibility.shown(memory) for memory in memories[:limit]],
        episodes_has_more=len(episodes) > limit,
        memories_has_more=len(memories) > limit,
    )
    if newest_first:
        page.episodes.reverse()
        page.memories.reverse()
    return page
