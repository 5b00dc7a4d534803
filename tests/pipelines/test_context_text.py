"""The words of a context: what a summary keeps of the transcript it was made from."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from pipelines.context_text import Delivered, assemble
from storage.passage_columns import Kind


def delivered(kind: Kind, text: str) -> Delivered:
    at = datetime(2025, 3, 2, tzinfo=UTC)
    return Delivered(row=0, source=UUID(int=1), kind=kind, text=text, speaker="", at=at, session_id=None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("user: The export fails.", "The export fails."),
        ("user: The export fails.\nassistant: Since when?\nUser: Monday.", "The export fails. → Monday."),
        ("Ada: The export fails.", "Ada: The export fails."),
        ("Superuser: all rights", "Superuser: all rights"),
        ("user: ", ""),
    ],
)
def test_a_summary_is_one_line_without_roles(text: str, line: str) -> None:
    written = assemble("## Task\nt\n", [delivered(Kind.EPISODE_SUMMARY, text)], session_id=None)
    assert written == f"## Task\nt\n\n## Recent history\n- [2025-03-02] {line}".rstrip("\n") + "\n"


def test_a_fact_keeps_its_words() -> None:
    written = assemble("", [delivered(Kind.PROFILE_FACT, "System: Linux\nEditor: Vim")], session_id=None)
    assert written == "## About this user\n- [2025-03-02] System: Linux Editor: Vim\n"
