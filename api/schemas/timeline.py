"""Reading a timeline (contract: core §6.9)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.schemas.fields import CallerId, CallerType, Moment, SubjectId, as_utc
from storage.rows import Episode, Memory

#: Rows of one page at most. Deployed clients ask for up to 1,000 and read the flags, so more is not an error.
MAX_PAGE = 200

#: Furthest a page may start; PostgreSQL counts in 64 bits and nobody pages that far.
MAX_OFFSET = 2**31 - 1

Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="Rows to leave out before the page.")]


class TimelineQuery(msgspec.Struct, kw_only=True):
    """Which page of which timeline. `limit` and `offset` hold for episodes and for memories, each on its own."""

    subject_id: SubjectId
    limit: Annotated[int, Meta(ge=1, description=f"Rows at most; more than {MAX_PAGE} is taken as {MAX_PAGE}.")] = 100
    offset: Offset = 0
    newest_first: Annotated[bool, Meta(description="Page from the newest end; inside a page the oldest is first.")] = (
        False
    )
    status: Annotated[
        Literal["all", "active"], Meta(description="`active` leaves out superseded and expired memories.")
    ] = "all"
    since: Moment | None = None
    until: Moment | None = None
    kinds: Annotated[list[str], Meta(description="Kinds of memories to keep, separated by commas.")] | None = None
    caller_id: CallerId | None = None
    caller_type: CallerType | None = None

    def __post_init__(self) -> None:
        if self.since is not None:
            self.since = as_utc(self.since)
        if self.until is not None:
            self.until = as_utc(self.until)


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """One page, oldest first. The flags say whether the lists go on."""

    subject_id: str
    episodes: list[Episode]
    memories: list[Memory]
    episodes_has_more: bool
    memories_has_more: bool
