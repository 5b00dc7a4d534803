"""From ranked passages to what is written: the choice within the budget, the words of the chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from config.deferred import np
from pipelines import context_text
from pipelines.context_bundle import ContextRequest
from pipelines.context_text import Delivered
from pipelines.packing import Selection, pack, rank
from pipelines.passages import turn_line
from pipelines.retrieval import Found, microseconds
from pipelines.speakers import ROLES, speaker_hash
from pipelines.tokens import count_tokens
from storage.context_sources import Sources, last_sources
from storage.passage_columns import Kind, PassageColumns
from storage.rows import Memory
from storage.transactions import Connection

#: Candidates that are ranked for delivery, per token of the budget. The cheapest lines cost about ten tokens.
CANDIDATES_PER_TOKEN = 0.25
LEAST_CANDIDATES = 200

#: PERF: an attribute of an enumeration costs a search through its class.
_TURN = Kind.TURN
_TURN_NUMBER = int(_TURN)
_KINDS = {int(kind): kind for kind in Kind}

_ROLE_NAMES = {speaker_hash(role): role for role in ROLES.values()}


def select(found: Found, request: ContextRequest, budget: int, now: datetime) -> Selection:
    most = max(LEAST_CANDIDATES, int(request.max_tokens * CANDIDATES_PER_TOKEN))
    order = rank(found.columns, found.scores, now=microseconds(now), most=most)
    return pack(found.columns, order, budget=budget - context_text.session_header_cost(request.session_id))


def nothing_of(found: Found, now: datetime) -> Selection:
    """Delivering none of the best, because the task has nothing to do with them."""
    best = rank(found.columns, found.scores, now=microseconds(now), most=LEAST_CANDIDATES)
    return Selection([], dict.fromkeys(best.tolist(), "unrelated"), 0)


def load_sources(conn: Connection, tenant_id: str, subject_id: str, found: Found, rows: Sequence[int]) -> Sources:
    """What the chosen rows were taken from. It ends the transaction."""
    columns = found.columns
    chosen = np.asarray(rows, dtype=np.intp)
    are_turns = columns.kind[chosen] == _TURN_NUMBER
    return last_sources(
        conn,
        tenant_id,
        subject_id,
        memories=list(dict.fromkeys(columns.source_id[chosen[~are_turns]].tolist())),
        episodes=list(dict.fromkeys(columns.source_id[chosen[are_turns]].tolist())),
    )


def delivered_of(
    found: Found,
    selection: Selection,
    memories: Mapping[UUID, Memory],
    sources: Sources,
    now: datetime,
) -> list[Delivered]:
    """The chosen passages with their words, best first. What ended since it was ranked is left out."""
    names = _ROLE_NAMES | {speaker_hash(name): name for name in found.speakers}
    columns = found.columns
    delivered = []
    for row, id, kind, start, stop, speaker, at in _places(columns, selection.chosen):
        source = sources.ids.get(id)
        if source is None:
            continue
        session_id = None
        if kind is _TURN:
            words = sources.bodies[source][start:stop]
            session_id = sources.episodes[source].session_id
        else:
            memory = memories.get(source)
            if memory is None:
                continue
            words = memory.content
        if selection.cut is not None and selection.cut[0] == row:
            words = _cut(words, names.get(speaker, ""), selection.cut[1])
        delivered.append(
            Delivered(
                row=row,
                source=source,
                kind=kind,
                text=words,
                speaker=names.get(speaker, ""),
                at=datetime.fromtimestamp(at / 1_000_000, tz=now.tzinfo),
                session_id=session_id,
            )
        )
    return delivered


def _places(columns: PassageColumns, rows: Sequence[int]) -> Iterator[tuple[int, bytes, Kind, int, int, int, int]]:
    """Of each row: its number, the bytes of its source's id, kind, start, stop, speaker, and microseconds."""
    chosen = np.asarray(rows, dtype=np.intp)
    return zip(
        rows,
        columns.source_id[chosen].tolist(),
        map(_KINDS.__getitem__, columns.kind[chosen].tolist()),
        *(column[chosen].tolist() for column in (columns.start, columns.stop, columns.speaker, columns.occurred_at)),
        strict=True,
    )


def _cut(words: str, speaker: str, tokens: int) -> str:
    """The beginning of words whose line may cost so many tokens."""
    frame = count_tokens(turn_line("", speaker)) + 1
    return context_text.shorten(words, tokens - frame)
