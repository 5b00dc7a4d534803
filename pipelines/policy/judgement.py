"""Judging a subject: which of its memories a policy hides from a caller, and what must be hidden with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from config.deferred import np
from pipelines.compilation import EDGES, EPISODE_SUMMARY
from pipelines.policy.evaluation import Firing, Judge
from pipelines.policy.visibility import Visibility
from pipelines.policy_decisions import AppliedFilter, PolicyDecisions, SkippedFilter
from pipelines.terms import term_list
from storage.passage_columns import Kind, PassageColumns
from storage.policies import LabelledMemory, SubjectLabels
from storage.rows import Memory

#: Share of the words of the shorter of two memories that both have, from which one repeats the other.
REPEATS = 0.5

#: Characters from which a word with a digit or an `@` tells something by itself: a number, an address, a key.
_TELLING_CHARS = 4


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy says about a subject, for one caller; what is done about it depends on the policy's mode.

    It may be shared between requests (`kept_judgements`), so nobody changes what it says.
    """

    judge: Judge | None = None
    visibility: Visibility = field(default_factory=Visibility)
    fired: Mapping[UUID, Firing] = field(default_factory=dict)
    """By labelled memory that is active."""
    labelled: frozenset[UUID] = frozenset()
    decided: dict[tuple[str, str | None], PolicyDecisions] = field(default_factory=dict)
    """What receipts say of it, by the mode and the text of the policy."""
    notes: dict[UUID, Memory] = field(default_factory=dict)
    """Redacted memories as they are shown, as far as they were read: they are of the same version as the judgement."""

    @property
    def size(self) -> int:
        """How many ids it holds."""
        return len(self.labelled) + len(self.visibility.denied) + len(self.visibility.withheld_episodes)

    def filters(self, columns: PassageColumns | None) -> tuple[list[AppliedFilter], list[SkippedFilter]]:
        """The rules that fired, one entry for each memory, and those that fired for none.

        Args:
            columns: The subject's passages; memories without labels are found by them.
        """
        if self.judge is None:
            return [], []
        fired = dict(self.fired)
        if self.visibility.unlabelled is not None and columns is not None:
            rows = np.flatnonzero(columns.kind != Kind.TURN)
            ids = (UUID(bytes=columns.source_id[row].tobytes()) for row in rows)
            fired |= {id: self.visibility.unlabelled for id in ids if id not in self.labelled}
        applied = [
            AppliedFilter(
                memory_id=str(id),
                rule_id=firing.rule_id,
                action=firing.action,
                matched_labels=list(firing.matched_labels),
            )
            for id, firing in sorted(fired.items())
        ]
        matched = {item.rule_id for item in applied}
        skipped = [
            SkippedFilter(rule_id=rule.id, action=rule.action)
            for rule in self.judge.bundle.rules
            if rule.id not in matched
        ]
        return applied, skipped


def judge_subject(judge: Judge, labels: SubjectLabels) -> Judgement:
    """Decide about everything labelled of a subject, and about what hangs together with it."""
    decided = {memory.id: judge.decide(memory.labels) for memory in labels.labelled}
    hidden = [memory for memory in labels.labelled if decided[memory.id] is not None]
    allowed = [memory for memory in labels.labelled if decided[memory.id] is None]
    secret = _Hidden(hidden)
    telling = [memory for memory in (*allowed, *labels.siblings) if secret.is_told_by(memory)]
    episodes = frozenset(id for memory in (*hidden, *telling) for id in memory.source_episode_ids)
    return Judgement(
        judge=judge,
        visibility=Visibility(
            denied=frozenset(
                {m.id for m in telling} | {id for id, by in decided.items() if by and by.action == "deny"}
            ),
            redacted=frozenset(id for id, by in decided.items() if by and by.action == "redact"),
            withheld_episodes=episodes,
            withheld_sessions=frozenset(labels.session_of[id] for id in episodes if id in labels.session_of),
            unlabelled=judge.decide(()),
        ),
        fired={
            memory.id: firing
            for memory in labels.labelled
            if memory.status == "active" and (firing := decided[memory.id]) is not None
        },
        labelled=frozenset(decided),
    )


class _Hidden:
    """The hidden memories of a subject, to ask of others whether they tell what these say."""

    def __init__(self, hidden: Sequence[LabelledMemory]) -> None:
        self._by_source: dict[UUID, list[LabelledMemory]] = defaultdict(list)
        for memory in hidden:
            for source in memory.source_episode_ids:
                self._by_source[source].append(memory)

    def is_told_by(self, memory: LabelledMemory) -> bool:
        """Whether a memory that is not hidden itself tells what a hidden one of the same episode says."""
        others = [other for source in memory.source_episode_ids for other in self._by_source.get(source, ())]
        if not others:
            return False
        if memory.kind == EPISODE_SUMMARY:
            return True
        said = _said(memory.content)
        return any(said.repeats(_said(other.content)) for other in others)


class _Said(NamedTuple):
    """A text as far as it is compared: as it stands, its terms, and its words that tell something by themselves."""

    text: str
    terms: frozenset[int]
    telling: frozenset[str]

    def repeats(self, other: _Said) -> bool:
        if not self.telling.isdisjoint(other.telling):
            return True
        shorter = min(len(self.terms), len(other.terms))
        if not shorter:
            return self.text.strip().lower() == other.text.strip().lower()
        return len(self.terms & other.terms) >= REPEATS * shorter


# PERF: the same memories are compared in every request about their subject.
@lru_cache(maxsize=4096)
def _said(text: str) -> _Said:
    words = (word.strip(EDGES) for word in text.lower().split())
    telling = (w for w in words if len(w) >= _TELLING_CHARS and ("@" in w or any(c.isdigit() for c in w)))
    return _Said(text, frozenset(term_list(text)), frozenset(telling))


def repeats(one: str, other: str) -> bool:
    """Whether one text tells what the other does: a number or address in common, or half of the shorter's words."""
    return _said(one).repeats(_said(other))
