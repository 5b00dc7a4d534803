"""Context that knows the session it is asked in, and how earlier ones ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings
from pipelines.compile import compile_now
from pipelines.context import ContextBundle, ContextRequest, assemble_context
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from pipelines.tokens import count_tokens
from storage.transactions import Pool, statements_sent

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SUMMARY = "Duplicate charge refunded; payment retries disabled"


def says(services: Services, session: str, role: str, text: str, *, days: float, tenant: str = "acme") -> None:
    episode = NewEpisode(
        subject_id="ada",
        session_id=session,
        source=role,
        type="message",
        payload={"messages": [{"role": role, "content": text}]},
        occurred_at=NOW - timedelta(days=days),
    )
    append_episodes(services, tenant, [episode], request_id=None)


def ends(services: Services, session: str, status: Any = "resolved", summary: str | None = None, **more: Any) -> None:
    record_resolution(
        services,
        more.pop("tenant", "acme"),
        subject_id="ada",
        session_id=session,
        status=status,
        summary=summary,
        **more,
    )


def ask(services: Services, task: str = "Help the customer with the charge", **fields: Any) -> ContextBundle:
    fields = {"max_tokens": 1000, **fields}
    tenant = fields.pop("tenant", "acme")
    return assemble_context(services, tenant, ContextRequest(subject_id="ada", task=task, **fields), now=NOW)


@pytest.fixture
def dispute(services: Services) -> Services:
    """A billing issue that was resolved in March and returns in May; another one in between."""
    says(services, "march", "user", "I was charged twice on my invoice, please refund the duplicate charge", days=80)
    says(services, "march", "assistant", "Refunded the duplicate charge and disabled payment retries", days=80)
    says(services, "april", "user", "The export of my quarterly report stops halfway", days=40)
    says(services, "april", "assistant", "Raised the limit of the export", days=40)
    says(services, "may", "user", "There is a duplicate charge on my invoice again", days=1)
    says(services, "may", "assistant", "I compared the ledger with the payment provider", days=1)
    compile_now(services, "acme", "ada", request_id=None)
    ends(services, "march", summary=SUMMARY, resolved_at=NOW - timedelta(days=79))
    ends(services, "april", summary="Export limit raised")
    ends(services, "may", "open")
    return services


def test_the_earlier_resolution_comes_first_with_its_summary_and_session(dispute: Services) -> None:
    bundle = ask(dispute, session_id="may")
    lines = bundle.assembled_context.split("\n")
    assert lines[:5] == [
        "## Task",
        "Help the customer with the charge",
        "",
        "## Earlier resolution of this issue",
        f"- [march] {SUMMARY} (resolved 2026-03-14)",
    ]
    assert "Export limit raised" not in bundle.assembled_context
    assert len(bundle.provenance["resolution_ids"]) == 1


def test_it_comes_first_also_when_only_the_task_says_what_it_is_about(dispute: Services) -> None:
    assert f"- [march] {SUMMARY}" in ask(dispute, "Customer writes: a duplicate charge again!").assembled_context


def test_a_different_issue_brings_none(dispute: Services) -> None:
    bundle = ask(dispute, "Where does the customer live?")
    assert "Earlier resolution" not in bundle.assembled_context
    assert "resolution_ids" not in bundle.provenance


def test_the_current_session_is_delivered_before_anything_older(dispute: Services) -> None:
    small = ask(dispute, "Say hello", session_id="may", max_tokens=110).assembled_context
    assert "duplicate charge on my invoice again" in small
    assert "quarterly report" not in small


def test_the_current_session_is_delivered_although_the_task_is_about_nothing_stored(dispute: Services) -> None:
    text = ask(dispute, "Draft a haiku on volcanic basalt", session_id="may").assembled_context
    assert "I compared the ledger" in text
    assert "### Current session (may)" in text
    assert "quarterly report" not in text


def test_an_open_issue_outranks_a_closed_one(services: Services) -> None:
    for session in ("closed", "open"):
        says(services, session, "user", "The quarterly export stops halfway through", days=3)
        ends(services, session, "resolved" if session == "closed" else "open")
    explained = ask(services, "What about billing invoices and the export?", explain=True).explain
    assert isinstance(explained, list)
    signals = [item["signals"] for item in explained]
    assert [("open_issue" in s, "closed_issue" in s) for s in signals] == [(True, False), (False, True)]


def test_every_signal_is_explained(dispute: Services) -> None:
    explained = ask(dispute, session_id="may", explain=True).explain
    assert isinstance(explained, list)
    for item in explained:
        assert item["score"] == pytest.approx(sum(item["signals"].values()), abs=0.002)
    names = {name for item in explained for name in item["signals"]}
    assert {"current_session", "open_issue", "closed_issue", "repeat_issue", "action_step"} <= names


def test_without_sessions_or_resolutions_nothing_more_is_read(services: Services) -> None:
    says(services, "march", "user", "I was charged twice on my invoice", days=80)
    compile_now(services, "acme", "ada", request_id=None)
    counts = []
    for session_id in (None, "march"):
        statements_sent.set(0)
        ask(services, session_id=session_id)
        counts.append(statements_sent.get())
    ends(services, "march")
    statements_sent.set(0)
    ask(services)
    assert counts[0] == counts[1] == statements_sent.get() - 1


def test_the_same_request_gives_the_same_bytes(dispute: Services) -> None:
    first, second = (ask(dispute, session_id="may", explain=True) for _ in range(2))
    assert (first.assembled_context, first.explain) == (second.assembled_context, second.explain)


@given(st.integers(1, 400), st.sampled_from([None, "may", "march", "none"]))
@settings(max_examples=40, deadline=None)
def test_never_over_budget(shared_pool: Pool, max_tokens: int, session_id: str | None) -> None:
    services = Services(settings=Settings(), pool=shared_pool, embedder=None, ping_broker=lambda: None)
    if ask(services, tenant="budget").token_estimate < 20:
        says(
            services,
            "march",
            "user",
            "I was charged twice, please refund the duplicate charge",
            days=80,
            tenant="budget",
        )
        says(services, "may", "user", "There is a duplicate charge on my invoice again", days=1, tenant="budget")
        ends(services, "march", summary=SUMMARY, tenant="budget")
    bundle = ask(services, tenant="budget", session_id=session_id, max_tokens=max_tokens)
    assert count_tokens(bundle.assembled_context) == bundle.token_estimate <= max_tokens
