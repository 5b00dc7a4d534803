"""Customers and what became of them, and what the person who leads the support team reads about it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipelines.services import Services
from tests.pipelines.support.story import Story

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def story(services: Services) -> Story:
    return Story(services)


def section(notes: str, heading: str) -> list[str]:
    """The lines below a heading."""
    lines = notes.split("\n")
    start = lines.index(heading) + 1
    stop = next((i for i in range(start, len(lines)) if not lines[i]), len(lines))
    return lines[start:stop]


def test_a_billing_dispute_that_recurs(story: Story) -> None:
    story.says("march", "user", "I was charged twice on my invoice INV-2043, please refund the duplicate", ago=40 * DAY)
    story.says(
        "march", "agent", "Refunded the duplicate charge and corrected the billing profile.", ago=40 * DAY - 3 * MINUTE
    )
    story.ends(
        "march", "resolved", "Duplicate charge refunded; payment retries disabled on the account", ago=39 * DAY + HOUR
    )
    story.says("may", "user", "My invoice shows the duplicate charge again, I want a refund", ago=2 * HOUR)
    story.says("may", "agent", "I compared both charges with the payment provider's ledger.", ago=2 * HOUR - 4 * MINUTE)
    story.ends("may", "open")

    assert story.signals() == {"unresolved_issues": -15, "repeated_issues": -20}
    health = story.health()
    assert (health.score, health.state) == (65, "watch")
    assert "march" in health.factors[1].detail

    brief = story.handoff("may", reason="customer asks for a manager")
    assert brief.active_issue.startswith("[user/message] My invoice shows the duplicate charge again")
    assert brief.attempted_steps == ["I compared both charges with the payment provider's ledger."]
    notes = brief.handoff_notes
    assert notes.startswith("# Handoff Brief — customer:ada\nReason: customer asks for a manager\nSession: may\n")
    assert section(notes, "## Previously Resolved") == [
        "- [march] Duplicate charge refunded; payment retries disabled on the account (the same issue)"
    ]
    assert section(notes, "## Customer Health")[0].startswith("🟡 WATCH (65/100): 1 open issue; ")
    assert section(notes, "## Open Issues") == ["- [may] no summary"]
    assert "Duplicate charge refunded" not in "\n".join(section(notes, "## Active Issue"))


def test_an_outage_across_three_sessions(story: Story) -> None:
    for number, ago in (("1", 30 * HOUR), ("2", 10 * HOUR), ("3", 2 * HOUR)):
        story.says(f"outage-{number}", "user", f"The production API is down again, error 50{number}", ago=ago)
        story.says(
            f"outage-{number}", "agent", "We are looking into the gateway logs right now.", ago=ago - 12 * MINUTE
        )
        story.ends(f"outage-{number}", "open", "Gateway answers with errors")

    assert story.signals() == {"unresolved_issues": -45, "escalations": -20, "slow_first_response": -5}
    assert (story.health().score, story.health().state) == (30, "at_risk")
    levels = story.levels()
    assert (levels.total_sessions, levels.open_sessions, levels.resolved_sessions) == (3, 3, 0)
    assert levels.avg_first_response_seconds == pytest.approx(720)
    assert levels.first_response_breach_count == 3

    notes = story.handoff("outage-3").handoff_notes
    assert section(notes, "## SLA Status") == [
        "- First-response breaches: 3",
        "- Longest open issue: 30.0 hours",
        "- Average first response: 12.0 minutes",
    ]
    assert len(section(notes, "## Open Issues")) == 3
    context = section(notes, "## Recent Context (other sessions)")
    assert context[0] == "- [agent/message] [outage-2] We are looking into the gateway logs right now."
    assert all("outage-3" not in line for line in context)


def test_a_vip_near_the_breach(story: Story) -> None:
    story.says("export", "user", "The quarterly export stops at 40 percent. The board meets tomorrow.", ago=22 * HOUR)
    story.says("export", "agent", "Restarted the export worker, the job is running again.", ago=22 * HOUR - 2 * MINUTE)
    story.says(
        "export",
        "tool",
        "Retried export job 8841",
        ago=20 * HOUR,
        type="tool_call",
        metadata={"outcome": {"status": "failed", "reason": "disk quota exceeded"}},
    )
    story.ends("export", "open", "Quarterly export fails")

    assert story.health().state == "healthy"
    brief = story.handoff("export")
    assert brief.attempted_steps == [
        "Restarted the export worker, the job is running again.",
        "Retried export job 8841 [failed: disk quota exceeded]",
    ]
    assert "- This session: 2.0 h left of the 24 h resolution target" in section(brief.handoff_notes, "## SLA Status")
    assert story.levels().resolution_breach_count == 0


def test_a_chatty_customer_with_nothing_wrong(story: Story) -> None:
    for minute, text in enumerate(
        (
            "I love the new dashboard! Could you break it down by month?",
            "I downloaded the report, it is not urgent at all.",
            "Just scroll down to the second chart, it is so pretty.",
            "Nothing is broken, I only wanted to say thanks to the whole team.",
            "The countdown on the start page made me laugh.",
        )
    ):
        story.says("chat", "user", text, ago=DAY - 2 * minute * MINUTE)
        story.says("chat", "agent", "Happy to hear that!", ago=DAY - (2 * minute + 1) * MINUTE)

    health = story.health()
    assert (health.score, health.state, health.factors) == (100, "healthy", [])
    levels = story.levels()
    assert [session.status for session in levels.sessions] == ["unknown"]
    assert levels.first_response_breach_count == levels.resolution_breach_count == 0
    brief = story.handoff("chat")
    assert section(brief.handoff_notes, "## Customer Health") == ["🟢 HEALTHY (100/100)"]
    assert "## Open Issues" not in brief.handoff_notes
    assert "## What Has Been Tried" not in brief.handoff_notes


def test_a_session_with_only_agent_messages(story: Story) -> None:
    story.says("outreach", "agent", "Hello Ada, your contract renews next month, shall we talk?", ago=3 * DAY)
    story.says("outreach", "agent", "Just following up on the renewal of your contract.", ago=2 * DAY)
    story.ends("outreach", "open")

    (session,) = story.levels().sessions
    assert session.first_message_at == session.first_response_at == (story.now - 3 * DAY).isoformat()
    assert session.first_response_seconds is None
    assert session.open_duration_seconds is None
    assert not session.first_response_breached
    brief = story.handoff("outreach")
    assert brief.active_issue.startswith("[agent/message] Hello Ada, your contract renews next month")
    assert brief.active_issue.endswith("(+1 more message)")


def test_an_unknown_customer(story: Story) -> None:
    health = story.health()
    assert (health.score, health.state, health.factors) == (100, "healthy", [])
    assert story.levels().total_sessions == 0
    brief = story.handoff("none")
    assert brief.customer_summary == "Subject: customer:ada"
    assert brief.provenance["fact_ids"] == brief.provenance["episode_ids"] == []
    assert brief.handoff_notes.split("\n")[:3] == [
        "# Handoff Brief — customer:ada",
        "Reason: escalation",
        "Session: none",
    ]


def test_what_is_known_about_the_customer_is_told(story: Story) -> None:
    story.says("hello", "user", "My name is Ada Lovelace and I work at Globex as head of data.", ago=5 * DAY)
    story.compiled()
    brief = story.handoff("hello")
    assert brief.key_facts
    assert brief.customer_summary.startswith("customer:ada — ")
    assert section(brief.handoff_notes, "## Key Facts")
    assert len(brief.provenance["fact_ids"]) == len(brief.key_facts)


def test_every_line_of_a_brief_says_where_it_comes_from(story: Story) -> None:
    story.says("one", "user", "My name is Ada. The login page is broken", ago=3 * DAY)
    story.ends("one", "resolved", "Reset the login", ago=2 * DAY)
    story.says("two", "user", "The login page is broken again. What now?", ago=2 * HOUR)
    story.says("two", "agent", "Cleared the session cache on the login page.", ago=HOUR)
    story.ends("two", "open")
    story.compiled()
    brief = story.handoff("two")
    lines = brief.handoff_notes.split("\n")
    content = [number for number, line in enumerate(lines, start=1) if line and not line.startswith("## ")]
    assert [origin["line"] for origin in brief.provenance["lines"]] == content
    for origin in brief.provenance["lines"]:
        assert origin.keys() & {"fact_ids", "episode_ids", "resolution_ids", "computed_from"}
