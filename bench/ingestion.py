"""Conversations as episodes, in the two shapes that clients send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from bench.conversation import Conversation, Session, Turn
from cli.api_client import Json

#: How far apart the turns of a session are dated: the format only tells when a session began.
SECONDS_BETWEEN_TURNS = 20

SOURCE = "support-chat"


def turn_episodes(conversation: Conversation, subject_id: str) -> list[Json]:
    """One episode per turn, dated a little after the one before."""
    return [
        _episode(
            subject_id,
            session,
            [turn],
            occurred_at=session.started_at + timedelta(seconds=SECONDS_BETWEEN_TURNS * position),
            kind="message",
            key=turn.id,
        )
        for session in conversation.sessions
        for position, turn in enumerate(session.turns)
    ]


def session_episodes(conversation: Conversation, subject_id: str) -> list[Json]:
    """One episode per session, holding all its turns as messages, dated when the session began."""
    return [
        _episode(
            subject_id,
            session,
            list(session.turns),
            occurred_at=session.started_at,
            kind="conversation",
            key=session.id,
        )
        for session in conversation.sessions
    ]


#: The shapes by the name the command line gives them.
SHAPES: dict[str, Callable[[Conversation, str], list[Json]]] = {
    "turn": turn_episodes,
    "session": session_episodes,
}


def _episode(
    subject_id: str, session: Session, turns: list[Turn], *, occurred_at: datetime, kind: str, key: str
) -> Json:
    messages = [{"role": turn.role, "name": turn.speaker, "content": turn.content} for turn in turns]
    return {
        "subject_id": subject_id,
        "session_id": session.id,
        "source": SOURCE,
        "type": kind,
        "payload": {"messages": messages},
        "occurred_at": occurred_at.isoformat(),
        "idempotency_key": f"{session.id}/{key}",
    }
