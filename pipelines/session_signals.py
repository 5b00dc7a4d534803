"""What a session adds to the ranking of a support context (contract: core §10.3).

What is said now outranks what was, an open issue outranks a closed one, what was tried is kept, and an issue that
returns brings its earlier resolution.

The contract's points divided by ten, so that they stand beside the other parts of a score (`pipelines.ranking`), where
a passage that answers the task is worth about one. Pure: columns and resolutions in, one column per signal out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from config.deferred import np
from pipelines.passages import session_hash
from pipelines.support.repeat_issues import SAME_ISSUE, courtesy_terms, keywords
from pipelines.terms import term_list
from storage.passage_columns import Flag, Kind, PassageColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray


FloatColumn: TypeAlias = "NDArray[np.float32]"
Mask: TypeAlias = "NDArray[np.bool_]"

CURRENT_SESSION = 0.6
OPEN_ISSUE = 0.4
CLOSED_ISSUE = -0.5
REPEAT_ISSUE = 0.4
REPEAT_ISSUE_WITH_SUMMARY = 0.6
ACTION_STEP = 0.2
URGENCY = 0.2
CHATTER = -0.2

#: Characters below which a turn is idle chatter.
CHATTER_CHARS = 20

#: Words two texts must share before they are about the same, unless one of them has no more.
LEAST_SHARED = 2

#: Resolutions of returning issues that a context names.
MOST_EARLIER = 3

_URGENT = (
    "urgent urgently critical blocked blocker deadline asap emergency breaking outage downtime compliance sla escalate"
    " escalated escalation immediately severity p0 p1"
)


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session of the subject stands."""

    session_id: str
    status: str
    summary: str | None
    resolution_id: UUID
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class EarlierResolution:
    """A resolved session about what is asked now; `share` of the smaller set of words is in both."""

    end: SessionEnd
    share: float


@dataclass(frozen=True, slots=True)
class SessionSignals:
    """What each passage gains or loses, (n,) each."""

    current_session: FloatColumn
    open_issue: FloatColumn
    closed_issue: FloatColumn
    repeat_issue: FloatColumn
    action_step: FloatColumn
    urgency: FloatColumn
    chatter: FloatColumn

    def total(self) -> FloatColumn:
        """The sum of all signals."""
        total = np.zeros_like(self.current_session)
        for field in fields(self):
            total += getattr(self, field.name)
        return total

    def of(self, row: int) -> dict[str, float]:
        """The signals of one passage that are not zero."""
        values = {field.name: float(getattr(self, field.name)[row]) for field in fields(self)}
        return {name: round(value, 4) for name, value in values.items() if value}


def session_signals(
    columns: PassageColumns, *, task: str, session_id: str | None, ends: Sequence[SessionEnd]
) -> tuple[SessionSignals, list[EarlierResolution]]:
    """Signals of every passage, and the resolutions that the current issue brings back, most alike first.

    Args:
        columns: All passages of the subject.
        task: What the agent is about to do.
        session_id: The session it is in, if any.
        ends: How the subject's sessions stand, newest first.
    """
    turns = columns.kind == Kind.TURN
    current = turns & (columns.session == session_hash(session_id)) if session_id is not None else np.zeros_like(turns)
    earlier = _earlier(columns, task, current, [end for end in ends if end.session_id != session_id])
    returning = {item.end.session_id for item in earlier}
    open_issue = turns & _in_sessions(columns, [end for end in ends if end.status == "open"])
    closed = [end for end in ends if end.status == "resolved" and end.session_id not in returning]
    told = [item.end for item in earlier if item.end.summary]
    untold = [item.end for item in earlier if not item.end.summary]
    repeated_told, repeated_untold = turns & _in_sessions(columns, told), turns & _in_sessions(columns, untold)
    in_question = current | open_issue | repeated_told | repeated_untold
    is_short = (columns.stop - columns.start) < CHATTER_CHARS
    signals = SessionSignals(
        current_session=_weigh(current, CURRENT_SESSION),
        open_issue=_weigh(open_issue, OPEN_ISSUE),
        closed_issue=_weigh(turns & _in_sessions(columns, closed) & ~current, CLOSED_ISSUE),
        repeat_issue=_weigh(repeated_told, REPEAT_ISSUE_WITH_SUMMARY) + _weigh(repeated_untold, REPEAT_ISSUE),
        action_step=_weigh(in_question & (columns.flags & Flag.FROM_USER == 0) & ~is_short, ACTION_STEP),
        urgency=_weigh(turns & _mentions(columns, _urgent_terms()), URGENCY),
        chatter=_weigh(turns & is_short, CHATTER),
    )
    return signals, earlier


def _earlier(columns: PassageColumns, task: str, current: Mask, ends: Sequence[SessionEnd]) -> list[EarlierResolution]:
    """Resolved sessions that share enough words with the task and the current session."""
    resolved = [end for end in ends if end.status == "resolved"]
    if not resolved:
        return []
    row_of_term = np.repeat(np.arange(len(columns)), columns.term_counts)
    asked = set(keywords(task)) | _keywords_of(columns.terms[current[row_of_term]])
    if not asked:
        return []
    session_of_term = columns.session[row_of_term]
    by_turn = (columns.kind == Kind.TURN)[row_of_term]
    found = []
    for end in resolved:
        said = columns.terms[by_turn & (session_of_term == session_hash(end.session_id))]
        known = _keywords_of(said) | keywords(end.summary or "")
        share = _share(asked, known)
        if end.summary:
            # A summary names the issue in few words: those alone may say more than all that was said about it.
            share = max(share, _share(asked, set(keywords(end.summary))))
        if share >= SAME_ISSUE:
            found.append(EarlierResolution(end, round(share, 4)))
    # Sorting is stable, so of two that are equally alike the one resolved later comes first.
    return sorted(found, key=lambda item: -item.share)[:MOST_EARLIER]


def _share(asked: set[int], known: set[int] | frozenset[int]) -> float:
    smaller = min(len(asked), len(known))
    shared = len(asked & known)
    return shared / smaller if smaller and shared >= min(LEAST_SHARED, smaller) else 0.0


@cache
def _urgent_terms() -> NDArray[np.uint32]:
    return np.array(sorted(set(term_list(_URGENT))), dtype=np.uint32)


def _keywords_of(terms: NDArray[np.uint32]) -> set[int]:
    """Distinct terms of passages that say what they are about."""
    return set(np.unique(terms).tolist()) - courtesy_terms()


def _in_sessions(columns: PassageColumns, ends: Sequence[SessionEnd]) -> Mask:
    hashes = np.array([session_hash(end.session_id) for end in ends], dtype=np.uint64)
    return np.isin(columns.session, hashes)


def _mentions(columns: PassageColumns, terms: NDArray[np.uint32]) -> Mask:
    """Passages that have one of the terms. A sieve of 64k bits leaves few to look up."""
    sieve = np.zeros(1 << 16, dtype=np.bool_)
    sieve[terms & 0xFFFF] = True
    places = np.flatnonzero(sieve[columns.terms.astype(np.uint16)])
    places = places[np.isin(columns.terms[places], terms)]
    ends = np.cumsum(columns.term_counts, dtype=np.int64)
    mask = np.zeros(len(columns), dtype=np.bool_)
    mask[np.searchsorted(ends, places, side="right")] = True
    return mask


def _weigh(mask: Mask, weight: float) -> FloatColumn:
    return mask.astype(np.float32) * np.float32(weight)
