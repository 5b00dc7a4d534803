"""The support conversation that the demo tells: 74 messages in nine sessions over seven weeks.

A hotel's key cards fail three times with two causes, plan and contact person change, and somebody is getting
married. It was written for this project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources

from cli.api_client import Json

#: The subject that belongs to the demo, and to nobody else.
SUBJECT_ID = "demo:hotel-seeblick"

#: How far apart the messages of one session are dated.
SECONDS_BETWEEN_MESSAGES = 45


@dataclass(frozen=True, slots=True)
class DemoConversation:
    """Who talks, the episodes in order, and the tasks that an agent might have."""

    customer: str
    session_count: int
    episodes: tuple[Json, ...]
    tasks: tuple[str, ...]

    @property
    def span(self) -> str:
        """The first and the last day, such as `2026-09-14 to 2026-11-04`."""
        return f"{self.episodes[0]['occurred_at'][:10]} to {self.episodes[-1]['occurred_at'][:10]}"


def load_conversation() -> DemoConversation:
    """Read the conversation that is shipped with this package."""
    document = json.loads((resources.files("cli") / "demo_conversation.json").read_text(encoding="utf-8"))
    return DemoConversation(
        customer=document["customer"],
        session_count=len(document["sessions"]),
        episodes=tuple(
            _episode(session, position)
            for session in document["sessions"]
            for position in range(len(session["messages"]))
        ),
        tasks=tuple(document["tasks"]),
    )


def _episode(session: Json, position: int) -> Json:
    started_at = datetime.fromisoformat(session["started_at"])
    occurred_at = started_at + timedelta(seconds=SECONDS_BETWEEN_MESSAGES * position)
    return {
        "subject_id": SUBJECT_ID,
        "session_id": session["id"],
        "source": "support-chat",
        "type": "message",
        "payload": {"messages": [session["messages"][position]]},
        "occurred_at": occurred_at.isoformat(),
        "idempotency_key": f"demo/{session['id']}/{position}",
    }
