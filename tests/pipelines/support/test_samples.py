"""The samples in docs/support.md are what the server answers."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from pipelines.services import Services
from tests.pipelines.support.story import Story

DOCUMENT = Path(__file__).parents[3] / "docs" / "support.md"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def dispute(services: Services) -> Story:
    story = Story(services)
    story.says("march", "user", "I was charged twice on invoice INV-2043, please refund the duplicate.", ago=40 * DAY)
    story.says("march", "agent", "Refunded the duplicate charge.", ago=40 * DAY - 3 * MINUTE)
    story.ends("march", "resolved", "Duplicate charge refunded; payment retries disabled", ago=40 * DAY - 2 * HOUR)
    story.says(
        "may", "user", "My invoice shows the duplicate charge again. I want a refund. This is urgent!", ago=22 * HOUR
    )
    story.says("may", "agent", "Compared both charges with the payment provider's ledger.", ago=22 * HOUR - 12 * MINUTE)
    story.says(
        "may",
        "tool",
        "Refund of INV-2107",
        ago=20 * HOUR,
        type="tool_call",
        metadata={"outcome": {"status": "failed", "reason": "payment provider timed out"}},
    )
    story.ends("may", "open")
    return story


def sample(name: str) -> str:
    found = re.search(rf"<!-- sample: {name} -->\n```\w+\n(.*?)```\n<!-- end -->", DOCUMENT.read_text(), re.S)
    return found[1] if found else ""


def test_health(dispute: Story) -> None:
    health = msgspec.json.format(
        msgspec.json.encode({"subject_id": dispute.subject_id, **msgspec.structs.asdict(dispute.health())})
    )
    assert sample("health") == health.decode() + "\n"


def test_brief(dispute: Story) -> None:
    assert sample("brief") == dispute.handoff("may", reason="customer asks for a manager").handoff_notes + "\n"
