"""Which stored memories a draft may concern, and which say the very same: by vectors where there are some for nothing,
by words otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from config.deferred import np
from pipelines.compilation import EPISODE_SUMMARY, DraftMemory, ExistingMemory
from pipelines.verdicts import Verdict
from pipelines.wording import Wording, name_different_things, wording

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Likeness below which two memories have nothing to do with each other: cosine, or share of words.
_NEAR_COSINE = 0.35
_NEAR_WORDS = 0.1


class Neighbour(NamedTuple):
    """A stored memory, by its place, and how like it is."""

    place: int
    score: float


class Likeness:
    """How like each draft is to each stored memory and to each other draft of its kind."""

    def __init__(
        self,
        drafts: Sequence[DraftMemory],
        existing: Sequence[ExistingMemory],
        vectors: NDArray[np.float32] | None,
    ) -> None:
        """Compare by vectors, or by words where there are none.

        Args:
            vectors: unit rows of the drafts, then of the stored memories; zeros for what has none.
        """
        self._drafts = drafts
        self._existing = existing
        memories: list[DraftMemory | ExistingMemory] = [*drafts, *existing]
        self._wordings = [wording(memory.content) for memory in memories]
        self.is_semantic = vectors is not None
        scores = _shares(self._wordings, len(drafts)) if vectors is None else vectors[: len(drafts)] @ vectors.T
        kinds = np.array([memory.kind for memory in memories])
        self._scores = np.where(kinds[: len(drafts), None] == kinds[None, :], scores, 0.0)

    def neighbours(self, index: int, *, most: int, among: int) -> list[Neighbour]:
        """The stored memories that the draft may concern, the likeliest first.

        Args:
            among: so many of the stored memories are looked at, from the first.
        """
        floor = _NEAR_COSINE if self.is_semantic else _NEAR_WORDS
        row = self._scores[index, len(self._drafts) :][:among]
        best = np.argsort(-row, kind="stable")[:most]
        return [Neighbour(int(place), float(row[place])) for place in best if row[place] >= floor]

    def same(self, *, threshold: float, among: int) -> list[Verdict]:
        """Drafts that say what a stored memory or an earlier draft says, by cosine. Summaries are left alone.

        Vectors hardly see "not", numbers and names, so texts that differ in those are never the same.

        Args:
            among: so many of the stored memories are looked at, from the first.
        """
        if not self.is_semantic:
            return []
        found = []
        gone: set[int] = set()
        count = len(self._drafts)
        for index, draft in enumerate(self._drafts):
            if draft.kind == EPISODE_SUMMARY:
                continue
            row = self._scores[index, : count + among].copy()
            row[index:count] = 0.0
            for place in np.argsort(-row, kind="stable"):
                if row[place] < threshold:
                    break
                if int(place) in gone or not self._may_be_same(index, int(place)):
                    continue
                of = int(place) if place < count else self._existing[place - count].id
                found.append(Verdict(index=index, action="DUPLICATE", of=of, score=round(float(row[place]), 4)))
                gone.add(index)
                break
        return found

    def _may_be_same(self, one: int, other: int) -> bool:
        first, second = self._wordings[one], self._wordings[other]
        if first.is_negated != second.is_negated or name_different_things(first, second):
            return False
        claims = [self._memory(place) for place in (one, other)]
        values = [(memory.claim_key, memory.claim_value) for memory in claims if memory.claim_key]
        return len(values) < 2 or values[0] == values[1]

    def _memory(self, place: int) -> DraftMemory | ExistingMemory:
        count = len(self._drafts)
        return self._drafts[place] if place < count else self._existing[place - count]


def _shares(wordings: Sequence[Wording], drafts: int) -> NDArray[np.float32]:
    """Shared words divided by all words."""
    rows = [
        [len(one.core & other.core) / max(1, len(one.core | other.core)) for other in wordings]
        for one in wordings[:drafts]
    ]
    return np.array(rows, dtype=np.float32).reshape(drafts, len(wordings))
