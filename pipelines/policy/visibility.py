"""What one caller may see of one subject: the outcome of a policy, applied to whatever is about to be handed out.

Labels flow from a memory to the episodes it was taken from: an episode is withheld when a memory that cites it is
denied or redacted, because it holds the same words. From there they flow on to the summaries of that episode, which
quote it, and to other memories of it that repeat what is hidden; these are denied. A rule without conditions on labels
hides what has no labels too, and with it every episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from config.deferred import np
from pipelines.policy.evaluation import Firing
from pipelines.policy.id_sets import IdSet
from storage.lineage import MemoryView, RelatedMemory
from storage.passage_columns import Kind, PassageColumns, take
from storage.rows import Memory
from storage.selection import NOTHING, IdFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What stands where a redacted text stood (contract: governance §4.3).
REDACTED = "[REDACTED by policy]"

#: Notes of redacted memories in one context.
MOST_NOTES = 50

_EMPTY_OBJECT = msgspec.Raw(b"{}")


@dataclass(frozen=True)
class Visibility:
    """Which memories and episodes a caller sees. The default hides nothing."""

    denied: frozenset[UUID] = frozenset()
    redacted: frozenset[UUID] = frozenset()
    withheld_episodes: frozenset[UUID] = frozenset()
    withheld_sessions: frozenset[str] = frozenset()
    #: What becomes of memories without labels; None where they are allowed.
    unlabelled: Firing | None = None

    @property
    def hides_anything(self) -> bool:
        """Whether the policy hides anything of the subject from the caller."""
        return bool(self.denied or self.redacted or self.unlabelled)

    @cached_property
    def listed_memories(self) -> IdFilter:
        """The memories of a listing: without the denied ones, with the redacted ones."""
        if self.unlabelled is not None and self.unlabelled.action == "deny":
            return IdFilter(self.redacted, only=True)
        return IdFilter(self.denied)

    @cached_property
    def searched_memories(self) -> IdFilter:
        """The memories that words may be looked for in: finding a redacted one would tell what stands in it."""
        return NOTHING if self.unlabelled is not None else IdFilter(self.denied | self.redacted)

    @cached_property
    def listed_episodes(self) -> IdFilter:
        """The episodes of a listing."""
        return NOTHING if self.unlabelled is not None else IdFilter(self.withheld_episodes)

    def shows_memory(self, memory_id: UUID) -> bool:
        """Whether the memory appears at all, redacted or not."""
        return self.listed_memories.admits(memory_id)

    def redacts(self, memory_id: UUID) -> bool:
        """Whether the memory appears only as a note that there is one."""
        if memory_id in self.redacted:
            return True
        return self.unlabelled is not None and self.unlabelled.action == "redact" and memory_id not in self.denied

    def shows_session_text(self, session_id: str | None) -> bool:
        """Whether what was written about a session as a whole may be read."""
        return self.unlabelled is None and (session_id is None or session_id not in self.withheld_sessions)

    def shown_memories(self, memories: Iterable[Memory]) -> list[Memory]:
        """The memories as the caller sees them, in their order."""
        return [self.shown(memory) for memory in memories if self.shows_memory(memory.id)]

    def shown(self, memory: Memory) -> Memory:
        """A memory that is listed, as the caller sees it: redacted, and without the ids of withheld sources."""
        if not self.hides_anything:
            return memory
        sources = self.shown_sources(memory.source_episode_ids)
        if not self.redacts(memory.id):
            return msgspec.structs.replace(memory, source_episode_ids=sources)
        return msgspec.structs.replace(
            memory, content=REDACTED, summary=REDACTED, metadata=_EMPTY_OBJECT, source_episode_ids=sources
        )

    def shown_view(self, view: MemoryView) -> MemoryView:
        """`shown`, of a memory as operators see it."""
        if not self.hides_anything:
            return view
        sources = self.shown_sources(view.source_episode_ids)
        if not self.redacts(view.id):
            return msgspec.structs.replace(view, source_episode_ids=sources)
        return msgspec.structs.replace(view, content=REDACTED, summary=REDACTED, source_episode_ids=sources)

    def shown_related(self, related: Iterable[RelatedMemory]) -> list[RelatedMemory]:
        """`shown_memories`, of memories beside one."""
        return [
            msgspec.structs.replace(item, content=REDACTED, summary=REDACTED) if self.redacts(item.id) else item
            for item in related
            if self.shows_memory(item.id)
        ]

    def shown_sources(self, episode_ids: Sequence[UUID]) -> list[UUID]:
        """The episodes that the caller may read."""
        return [id for id in episode_ids if self.listed_episodes.admits(id)]

    def visible_passages(self, columns: PassageColumns) -> PassageColumns:
        """The passages that may be ranked. Redacted memories are not: how they rank would tell their words."""
        if not self.hides_anything:
            return columns
        if self.unlabelled is not None:
            return take(columns, np.zeros(0, dtype=np.intp))
        return take(columns, np.flatnonzero(~self._unranked.holds(columns.source_id)))

    def redacted_in(self, columns: PassageColumns, *, now: int, most: int) -> list[UUID]:
        """The newest memories with passages that are shown only as notes.

        Args:
            now: microseconds since 1970; what ended before is left out.
        """
        rows = np.flatnonzero((columns.kind != Kind.TURN) & (columns.valid_until > now))
        found = [
            UUID(bytes=source) for source in columns.source_id[rows[self._noted(columns.source_id[rows])]].tolist()
        ]
        return found[: -most - 1 : -1]

    @cached_property
    def _unranked(self) -> IdSet:
        return IdSet((*self.denied, *self.redacted, *self.withheld_episodes))

    @cached_property
    def _redacted(self) -> IdSet:
        return IdSet(self.redacted)

    @cached_property
    def _denied(self) -> IdSet:
        return IdSet(self.denied)

    def _noted(self, source_ids: NDArray[np.void]) -> NDArray[np.bool_]:
        """`redacts`, of a column."""
        redacted = self._redacted.holds(source_ids)
        if self.unlabelled is not None and self.unlabelled.action == "redact":
            return redacted | ~self._denied.holds(source_ids)
        return redacted


#: Nothing is hidden.
EVERYTHING = Visibility()
