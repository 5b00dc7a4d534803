"""Each factor of the health score, exactly as the contract has it, and what no combination of them can do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.support.facts import Session, SubjectFacts
from pipelines.support.health import assess, next_change_by_time, overdue_factor, state_of
from pipelines.support.health_alerts import MARGIN, next_alert_state
from pipelines.support.repeat_issues import Repeat

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=365)
DAY = timedelta(days=1)

Status = str | None


def session(id: str, status: Status = None, *, user: timedelta | None = None, **more: Any) -> Session:
    """A session whose customer spoke so long ago."""
    at = NOW - (user or timedelta(hours=1))
    values = {"episodes": 1, "first_at": at, "newest_at": at, "first_user_at": at, "updated_at": NOW, **more}
    return Session(session_id=id, status=status, **values)


def resolved(id: str, *, user: timedelta, after: timedelta) -> Session:
    return session(id, "resolved", user=user, resolved_at=NOW - user + after)


def facts(*sessions: Session, **more: Any) -> SubjectFacts:
    return SubjectFacts(sessions=list(sessions), window_since=LONG_AGO, **more)


def impacts(known: SubjectFacts) -> list[tuple[str, int]]:
    return [(factor.signal, factor.impact) for factor in assess(known, now=NOW).factors]


def test_nothing_known_is_healthy() -> None:
    assert assess(SubjectFacts(), now=NOW) == assess(facts(), now=NOW)
    assert (assess(SubjectFacts(), now=NOW).score, assess(SubjectFacts(), now=NOW).state) == (100, "healthy")


@pytest.mark.parametrize(("count", "impact"), [(1, -15), (2, -30), (3, -45), (4, -45)])
def test_open_issues(count: int, impact: int) -> None:
    assert impacts(facts(*(session(str(i), "open") for i in range(count)))) == [("unresolved_issues", impact)]


def test_unresolved_is_not_open() -> None:
    assert impacts(facts(session("a", "unresolved"))) == []


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [("escalations", -10)]), (5, [("escalations", -20)])])
def test_escalations(count: int, expected: list[tuple[str, int]]) -> None:
    assert impacts(facts(escalations=count)) == expected


@pytest.mark.parametrize(("silent", "idle"), [(7 * DAY, True), (7 * DAY - timedelta(seconds=1), False)])
def test_an_idle_open_issue(silent: timedelta, idle: bool) -> None:
    assert (("idle_open_issue", -15) in impacts(facts(session("a", "open", user=silent)))) is idle


def test_two_idle_issues_count_once() -> None:
    known = facts(session("a", "open", user=8 * DAY), session("b", "open", user=9 * DAY))
    assert impacts(known) == [("unresolved_issues", -30), ("idle_open_issue", -15)]


@pytest.mark.parametrize(("ago", "recent"), [(7 * DAY, True), (7 * DAY + timedelta(seconds=1), False)])
def test_a_recent_resolution(ago: timedelta, recent: bool) -> None:
    known = facts(resolved("a", user=ago + timedelta(hours=1), after=timedelta(hours=1)))
    assert impacts(known) == ([("recent_resolution", 10)] if recent else [])


@pytest.mark.parametrize(
    ("resolved_count", "total", "high"), [(4, 5, True), (3, 4, False), (1, 1, False), (2, 2, True)]
)
def test_the_resolution_rate(resolved_count: int, total: int, high: bool) -> None:
    known = facts(
        *(resolved(f"r{i}", user=90 * DAY, after=timedelta(hours=1)) for i in range(resolved_count)),
        *(session(f"u{i}", "unresolved") for i in range(total - resolved_count)),
    )
    assert (("high_resolution_rate", 10) in impacts(known)) is high


@pytest.mark.parametrize(
    ("after", "count", "impact"), [(DAY, 1, 0), (DAY + timedelta(seconds=1), 1, -10), (2 * DAY, 3, -20)]
)
def test_slow_resolutions(after: timedelta, count: int, impact: int) -> None:
    known = facts(*(resolved(str(i), user=90 * DAY, after=after) for i in range(count)))
    assert dict(impacts(known)).get("sla_resolution_breaches", 0) == impact


@pytest.mark.parametrize(("minutes", "slow"), [(10, False), (10.1, True)])
def test_slow_first_responses(minutes: float, slow: bool) -> None:
    known = facts(session("a", first_agent_at=NOW - timedelta(hours=1) + timedelta(minutes=minutes)))
    assert impacts(known) == ([("slow_first_response", -5)] if slow else [])


def test_factors_come_in_the_contracts_order() -> None:
    known = facts(
        session("a", "open", user=8 * DAY, first_agent_at=NOW),
        *(resolved(str(i), user=3 * DAY, after=2 * DAY) for i in range(9)),
        escalations=1,
        repeats=[Repeat("a", "b", 0.5)],
    )
    assert [signal for signal, _ in impacts(known)] == [
        *("unresolved_issues", "repeated_issues", "escalations", "idle_open_issue", "recent_resolution"),
        *("high_resolution_rate", "sla_resolution_breaches", "slow_first_response"),
    ]


@pytest.mark.parametrize(("score", "state"), [(70, "healthy"), (69, "watch"), (40, "watch"), (39, "at_risk")])
def test_states(score: int, state: str) -> None:
    assert state_of(score) == state


moments = st.integers(0, 60 * 24 * 30).map(lambda minutes: NOW - timedelta(minutes=minutes))


@st.composite
def any_session(draw: st.DrawFn, id: str) -> Session:
    status = draw(st.sampled_from([None, "open", "resolved", "unresolved"]))
    first = draw(st.none() | moments)
    return Session(
        session_id=id,
        episodes=1,
        first_at=first or NOW,
        newest_at=draw(moments),
        first_user_at=first,
        first_agent_at=draw(st.none() | moments),
        status=status,
        resolved_at=draw(moments) if status == "resolved" else None,
        updated_at=draw(moments),
    )


@st.composite
def any_facts(draw: st.DrawFn) -> SubjectFacts:
    sessions = [draw(any_session(f"s{i}")) for i in range(draw(st.integers(0, 8)))]
    repeats = draw(st.sampled_from([[], [Repeat("s0", "s1", 0.4)]]))
    return facts(*sessions, escalations=draw(st.integers(0, 5)), repeats=repeats)


@given(any_facts())
def test_a_score_is_what_its_factors_add_up_to(known: SubjectFacts) -> None:
    health = assess(known, now=NOW)
    assert health.score == max(0, min(100, 100 + sum(factor.impact for factor in health.factors)))
    assert health.score % 5 == 0
    assert health.state == state_of(health.score)


@given(any_facts())
def test_another_escalation_never_helps(known: SubjectFacts) -> None:
    worse = msgspec.structs.replace(known, escalations=known.escalations + 1)
    assert assess(worse, now=NOW).score <= assess(known, now=NOW).score


@given(any_facts())
def test_a_repeated_issue_never_helps(known: SubjectFacts) -> None:
    worse = msgspec.structs.replace(known, repeats=[Repeat("s0", "s1", 0.4)])
    assert assess(worse, now=NOW).score <= assess(known, now=NOW).score


@given(any_facts())
def test_another_open_issue_never_helps(known: SubjectFacts) -> None:
    worse = msgspec.structs.replace(known, sessions=[*known.sessions, session("extra", "open")])
    assert assess(worse, now=NOW).score <= assess(known, now=NOW).score


@given(any_facts())
def test_an_open_issue_that_goes_silent_never_helps(known: SubjectFacts) -> None:
    silent = [msgspec.structs.replace(s, newest_at=NOW - 8 * DAY) if s.status == "open" else s for s in known.sessions]
    assert assess(msgspec.structs.replace(known, sessions=silent), now=NOW).score <= assess(known, now=NOW).score


@given(any_facts())
def test_a_slower_resolution_never_helps(known: SubjectFacts) -> None:
    """The customer had asked a month earlier, and everything else was the same."""
    slower = [
        msgspec.structs.replace(s, first_user_at=s.first_user_at - timedelta(days=30), first_agent_at=None)
        if s.first_user_at and s.status == "resolved"
        else msgspec.structs.replace(s, first_agent_at=None)
        for s in known.sessions
    ]
    same = [msgspec.structs.replace(s, first_agent_at=None) for s in known.sessions]
    worse, before = (msgspec.structs.replace(known, sessions=value) for value in (slower, same))
    assert assess(worse, now=NOW).score <= assess(before, now=NOW).score


@given(any_facts())
def test_a_slower_first_response_never_helps(known: SubjectFacts) -> None:
    slower = [
        msgspec.structs.replace(s, first_agent_at=s.first_agent_at + timedelta(hours=1)) if s.first_agent_at else s
        for s in known.sessions
    ]
    assert assess(msgspec.structs.replace(known, sessions=slower), now=NOW).score <= assess(known, now=NOW).score


@given(any_facts())
def test_without_a_resolution_nobody_is_unhealthy(known: SubjectFacts) -> None:
    """Ingestion relies on it: only subjects with resolutions have their health checked for every episode."""
    plain = [msgspec.structs.replace(s, status=None, resolved_at=None) for s in known.sessions]
    health = assess(msgspec.structs.replace(known, sessions=plain, repeats=[]), now=NOW)
    assert health.score >= 70 + MARGIN


@given(any_facts())
def test_between_the_moments_named_time_alone_changes_nothing(known: SubjectFacts) -> None:
    following = next_change_by_time(known, now=NOW)
    until = following - timedelta(microseconds=1) if following else NOW + timedelta(days=3650)
    # A resolution stays recent for the millisecond that is added to its week.
    until -= timedelta(milliseconds=1)
    if until > NOW:
        then, now = assess(known, now=until), assess(known, now=NOW)
        assert (then.score, then.overdue) == (now.score, now.overdue)


@pytest.mark.parametrize(
    ("known", "late"),
    [
        (session("a", "open", user=timedelta(minutes=5)), []),
        (session("a", "open", user=timedelta(minutes=5, milliseconds=1)), ["first_response"]),
        (session("a", "open", user=timedelta(minutes=6), first_agent_at=NOW), []),
        (session("a", "open", user=DAY, first_agent_at=NOW), []),
        (session("a", "open", user=DAY + timedelta(seconds=1), first_agent_at=NOW), ["resolution"]),
        (session("a", "open", user=2 * DAY), ["first_response", "resolution"]),
        (session("a", "resolved", user=2 * DAY, resolved_at=NOW), []),
        (session("a", "unresolved", user=2 * DAY), []),
        (session("a", None, user=2 * DAY), []),
        (session("a", "open", user=2 * DAY, first_user_at=None), []),
    ],
)
def test_clocks_run_in_open_sessions_until_answered_and_resolved(known: Session, late: list[str]) -> None:
    assert [deadline.target for deadline in assess(facts(known), now=NOW).overdue] == late


def test_a_deadline_that_passed_takes_nothing_from_the_contracts_score() -> None:
    health = assess(facts(session("a", "open", user=2 * DAY, first_agent_at=NOW - 2 * DAY)), now=NOW)
    assert (health.score, health.state) == (85, "healthy")
    reason = overdue_factor(health, now=NOW)
    assert reason is not None
    assert (reason.signal, reason.impact) == ("sla_overdue", 0)
    assert reason.detail == "Open session [a] is 24 hours over its service level: resolution within 24 hours"


@given(any_facts(), st.sampled_from(["healthy", "watch", "at_risk"]))
def test_a_deadline_that_passes_never_helps(known: SubjectFacts, previous: str) -> None:
    order = ["healthy", "watch", "at_risk"]
    score = assess(known, now=NOW).score
    late = next_alert_state(previous, score, overdue=True)
    assert order.index(late) >= order.index(next_alert_state(previous, score))
    assert late != "healthy"
    assert next_alert_state(late, score, overdue=True) == late, "told once"


@given(st.sampled_from(["healthy", "watch", "at_risk"]), st.integers(0, 20).map(lambda n: 5 * n))
def test_what_subscribers_are_told_follows_the_score(previous: str, score: int) -> None:
    told = next_alert_state(previous, score)
    order = ["healthy", "watch", "at_risk"]
    assert order.index(told) >= order.index(state_of(score)), "never better than the plain state"
    assert next_alert_state(told, score) == told, "the same score tells nothing twice"


def test_a_score_on_the_edge_does_not_flap() -> None:
    state, told = "healthy", []
    for score in (70, 65, 70, 65, 70, 65, 75, 70, 65):
        following = next_alert_state(state, score)
        if following != state:
            told.append(following)
        state = following
    assert told == ["watch", "healthy", "watch"]


def test_a_recovery_from_the_bottom_is_told_step_by_step() -> None:
    assert next_alert_state("at_risk", 40) == "at_risk"
    assert next_alert_state("at_risk", 45) == "watch"
    assert next_alert_state("at_risk", 70) == "watch"
    assert next_alert_state("at_risk", 75) == "healthy"
