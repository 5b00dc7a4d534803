"""What the session of a context request changes: which passages count for more or less, and what is told first.

All of it is added to the one ranking (`pipelines.ranking`); there is no second one. Without a session in the request
and without any resolution of the subject nothing is read and nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from config.deferred import np
from pipelines.policy.visibility import EVERYTHING, Visibility
from pipelines.retrieval import Found
from pipelines.session_signals import EarlierResolution, SessionEnd, SessionSignals, session_signals
from pipelines.support.excerpts import one_line
from pipelines.tokens import count_tokens
from storage import resolutions
from storage.transactions import Connection

#: Newest resolutions that are looked at (contract: core §7.1 has the same number).
MOST_ENDS = 200

EARLIER = "## Earlier resolution of this issue"
EARLIER_SEVERAL = "## Earlier resolutions of this issue"


@dataclass(frozen=True, slots=True)
class Situation:
    """The session a request is in, and what it has to do with earlier ones."""

    signals: SessionSignals
    earlier: list[EarlierResolution]

    @property
    def is_known(self) -> bool:
        """Whether there is anything to say although the words of the task are nowhere."""
        return bool(self.earlier) or bool((self.signals.current_session > 0).any())


def read_situation(
    conn: Connection,
    tenant_id: str,
    subject_id: str,
    found: Found,
    *,
    task: str,
    session_id: str | None,
    valid_at: datetime | None = None,
    visibility: Visibility = EVERYTHING,
) -> Situation | None:
    """Read how the subject's sessions ended, in one statement; None when no session matters to the request.

    How a session ended is hidden together with any of its episodes: its summary tells what was said in them.

    Args:
        valid_at: A moment of the past that the context is of: what was resolved later had not ended then.
    """
    ends: list[SessionEnd] = []
    if found.has_resolutions:
        ends = [
            SessionEnd(row.session_id, row.status, row.resolution_summary, row.id, row.resolved_at)
            for row in resolutions.list_resolutions(conn, tenant_id, subject_id, limit=MOST_ENDS)
            if visibility.shows_session_text(row.session_id)
            and (valid_at is None or row.resolved_at is None or row.resolved_at <= valid_at)
        ]
    if session_id is None and not ends:
        return None
    signals, earlier = session_signals(found.columns, task=task, session_id=session_id, ends=ends)
    return Situation(signals, earlier)


def in_situation(found: Found, situation: Situation) -> Found:
    """The passages with the signals of the session in their scores.

    When nothing stored has to do with the task's words, only what the session itself brings is left.
    """
    added = situation.signals.total()
    total = found.scores.total + added
    if not found.is_related:
        total = np.where(added > 0, total, -np.inf).astype(np.float32)
    return replace(found, scores=replace(found.scores, total=total), is_related=found.is_related or situation.is_known)


def with_earlier(header: str, earlier: list[EarlierResolution], max_tokens: int) -> tuple[str, list[EarlierResolution]]:
    """The opening of a context with what resolved the issue before, as far as it fits.

    Returns:
        The opening, and the resolutions that are in it.
    """
    told = [item for item in earlier if item.end.summary]
    while told:
        heading = EARLIER if len(told) == 1 else EARLIER_SEVERAL
        opening = "\n".join([header, heading, *map(_line, told), ""])
        if count_tokens(opening) <= max_tokens:
            return opening, told
        told = told[:-1]
    return header, []


def _line(item: EarlierResolution) -> str:
    when = f" (resolved {item.end.resolved_at:%Y-%m-%d})" if item.end.resolved_at else ""
    return f"- [{item.end.session_id}] {one_line(item.end.summary or '')}{when}"
