"""Judging a subject: which of its memories a policy hides from a caller, and what must be hidden with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from pipelines.compilation import EDGES, EPISODE_SUMMARY
from pipelines.policy.evaluation import Firing, Judge
from pipelines.policy.visibility import Visibility
from pipelines.policy_decisions import AppliedFilter, SkippedFilter
from pipelines.terms import term_list
from storage.passage_columns import Kind, PassageColumns
from storage.policies import LabelledMemory, SubjectLabels

#: Share of the words of the shorter of two memories that both have, from which one repeats the other.
REPEATS = 0.5

#: Characters from which a word with a digit or an `@` tells something by itself: a number, an address, a key.
_TELLING_CHARS = 4


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy says about a subject, for one caller; what is done about it depends on the policy's mode."""

    judge: Judge | None = None
    visibility: Visibility = field(default_factory=Visibility)
    fired: Mapping[UUID, Firing] = field(default_factory=dict)
    """By labelled memory that is active."""
    labelled: frozenset[UUID] = frozenset()

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
    telling = [memory for memory in (*allowed, *labels.siblings) if _tells(memory, hidden)]
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


def _tells(memory: LabelledMemory, hidden: list[LabelledMemory]) -> bool:
    """Whether a memory that is not hidden itself tells what a hidden one of the same episode says."""
    sources = set(memory.source_episode_ids)
    return any(
        memory.kind == EPISODE_SUMMARY or repeats(memory.content, other.content)
        for other in hidden
        if not sources.isdisjoint(other.source_episode_ids)
    )


def repeats(one: str, other: str) -> bool:
    """Whether one text tells what the other does: a number or address in common, or half of the shorter's words."""
    if not _telling_words(one).isdisjoint(_telling_words(other)):
        return True
    terms, others = set(term_list(one)), set(term_list(other))
    shorter = min(len(terms), len(others))
    return len(terms & others) >= REPEATS * shorter if shorter else one.strip().lower() == other.strip().lower()


def _telling_words(text: str) -> set[str]:
    words = (word.strip(EDGES) for word in text.lower().split())
    return {w for w in words if len(w) >= _TELLING_CHARS and ("@" in w or any(char.isdigit() for char in w))}
