"""Context: within its budget always, what matters in it, each part traceable, the same bytes every time."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings
from pipelines.compile import compile_now
from pipelines.context import ContextBundle, ContextRequest, assemble_context
from pipelines.embedder_local import LocalEmbedder
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.services import Services
from pipelines.tokens import count_tokens
from storage.passage_cache import PassageCache
from storage.transactions import Pool, statements_sent, tenant_transaction

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TALK = [
    ("user", "Hello, this is Ada Moreau from Globex."),
    ("assistant", "Hi Ada, how can I help you today?"),
    ("user", "The PDF export fails with error E-4012 since Monday."),
    ("assistant", "I cleared the render cache. Please try the export again."),
    ("user", "That fixed it, thank you!"),
    ("user", "By the way, our new office in Porto has a lovely view."),
    ("assistant", "Sounds wonderful! Anything else?"),
    ("user", "Please send invoices to billing@globex.example from now on."),
]


def told(services: Services, tenant: str = "acme", *, compiled: bool = True) -> None:
    episodes = [
        NewEpisode(
            subject_id="ada",
            session_id=f"s{number // 4}",
            source="chat",
            type="message",
            payload={"messages": [{"role": role, "content": text}]},
            occurred_at=datetime(2026, 3, 1 + number // 4 * 5, 9, number, tzinfo=UTC),
        )
        for number, (role, text) in enumerate(TALK)
    ]
    append_episodes(services, tenant, episodes, request_id=None)
    if compiled:
        compile_now(services, tenant, "ada", request_id=None)


def ask(services: Services, task: str, *, max_tokens: int = 1000, **fields: object) -> ContextBundle:
    request = ContextRequest(subject_id="ada", task=task, max_tokens=max_tokens, **fields)  # type: ignore[arg-type]
    return assemble_context(services, "acme", request, now=NOW)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_was_said_is_found_before_and_after_compilation(services: Services, compiled: bool) -> None:
    told(services, compiled=compiled)
    bundle = ask(services, "Why did the PDF export fail?", max_tokens=80)
    assert "E-4012" in bundle.assembled_context


def test_every_part_is_traceable(services: Services) -> None:
    told(services)
    bundle = ask(services, "Where does Ada want her invoices sent?")
    assert [str(e.id) for e in bundle.episodes] == bundle.provenance["episode_ids"]
    delivered = {str(m.id) for m in (*bundle.facts, *bundle.procedures)}
    assert delivered == {id for kind in ("fact_ids", "summary_ids", "procedure_ids") for id in bundle.provenance[kind]}
    assert all(memory.source_episode_ids for memory in bundle.facts)
    assert {s["session_id"] for s in bundle.sessions} == {e.session_id for e in bundle.episodes}


def test_what_a_turn_tells_is_not_told_again_by_its_summary(services: Services) -> None:
    told(services)
    bundle = ask(services, "Why did the PDF export fail?")
    assert "That fixed it, thank you!" in bundle.assembled_context
    assert bundle.assembled_context.count("That fixed it, thank you!") == 1
    assert bundle.provenance["summary_ids"] == []


def test_a_context_takes_two_round_trips_and_one_more_for_what_the_process_has_not_read(services: Services) -> None:
    told(services)
    services = dataclasses.replace(services, passages=PassageCache(10**7))
    sent, bundles = [], []
    for _ in range(3):
        statements_sent.set(0)
        bundles.append(ask(services, "Where does Ada want her invoices sent?"))
        sent.append(statements_sent.get())
    assert sent == [3, 2, 2]
    assert bundles[0] == bundles[1] == ask(dataclasses.replace(services, passages=None), bundles[0].task)


def test_an_unknown_subject_gets_its_task_and_nothing_else(services: Services) -> None:
    bundle = ask(services, "Anything?")
    assert bundle.assembled_context == "## Task\nAnything?\n"
    assert (bundle.facts, bundle.episodes, bundle.procedures, bundle.sessions) == ([], [], [], [])
    assert bundle.token_estimate == count_tokens(bundle.assembled_context)


def test_when_nothing_relates_it_says_so_and_does_not_pad(services: Services) -> None:
    told(services)
    bundle = ask(services, "Which pasta recipe uses roasted aubergine and pecorino?")
    assert "Nothing that is stored about this subject relates to the task" in bundle.assembled_context
    assert (bundle.facts, bundle.episodes, bundle.procedures) == ([], [], [])


def test_the_same_request_gives_the_same_bytes(services: Services) -> None:
    told(services)
    bodies = {msgspec.json.encode(ask(services, "What about the export?", explain=True)) for _ in range(5)}
    assert len(bodies) == 1


def test_the_current_session_stands_apart(services: Services) -> None:
    told(services)
    text = ask(services, "What is going on with the export and the office?", session_id="s1").assembled_context
    assert text.index("### Current session (s1)") < text.index("### Previous interactions")


def test_another_tenant_finds_nothing(services: Services) -> None:
    told(services)
    request = ContextRequest(subject_id="ada", task="Why did the PDF export fail?", max_tokens=1000)
    assert assemble_context(services, "globex", request, now=NOW).episodes == []


def test_a_superseded_memory_is_not_delivered(services: Services) -> None:
    for day, city in ((1, "Lyon"), (9, "Porto")):
        episode = NewEpisode(
            subject_id="ada",
            source="chat",
            type="message",
            payload={"messages": [{"role": "user", "content": f"I live in {city}."}]},
            occurred_at=datetime(2026, 3, day, tzinfo=UTC),
        )
        append_episodes(services, "acme", [episode], request_id=None)
        compile_now(services, "acme", "ada", request_id=None)
    facts = [memory.content for memory in ask(services, "Where does the customer live?").facts]
    assert "I live in Lyon" not in facts


def test_an_expired_memory_is_not_delivered(services: Services) -> None:
    told(services)
    with tenant_transaction(services.pool, "acme") as conn:
        conn.execute("update memories set valid_to = %s, updated_at = now()", (NOW - timedelta(days=1),))
    bundle = ask(services, "Why did the PDF export fail?")
    assert bundle.facts == [] and bundle.procedures == []


def test_message_37_of_a_long_episode_is_found(services: Services) -> None:
    topics = ["invoice", "router", "password", "shipping", "refund", "calendar", "printer", "webinar"]
    messages = [
        {
            "role": "user" if i % 2 == 0 else "assistant",
            "content": f"Note {i}: the {topics[i % 8]} topic came up again today.",
        }
        for i in range(200)
    ]
    messages[37] = {"role": "assistant", "content": "The spare key is kept in the blue cabinet on the third floor."}
    append_episodes(
        services,
        "acme",
        [NewEpisode(subject_id="ada", source="chat", type="conversation", payload={"messages": messages})],
        request_id=None,
    )
    for _ in range(2):
        text = ask(services, "Where can I find the spare key?", max_tokens=100).assembled_context
        assert "blue cabinet on the third floor" in text
        compile_now(services, "acme", "ada", request_id=None)


def test_explain_tells_also_why_nothing_was_delivered(services: Services) -> None:
    assert ask(services, "Anything?", explain=True).explain == []
    told(services)
    bundle = ask(services, "Which pasta recipe uses roasted aubergine and pecorino?", explain=True)
    assert bundle.episodes == [] and isinstance(bundle.explain, list) and bundle.search_mode == "semantic"
    assert {candidate["left_out"] for candidate in bundle.explain} == {"unrelated"}
    assert not any(candidate["delivered"] for candidate in bundle.explain)


def test_explain_names_every_candidate_with_its_signals(services: Services) -> None:
    told(services)
    bundle = ask(services, "Why did the PDF export fail?", max_tokens=60, explain=True)
    assert isinstance(bundle.explain, list)
    delivered = {c["source_id"] for c in bundle.explain if c["delivered"]}
    assert delivered == {id for ids in bundle.provenance.values() for id in ids}
    assert all(c["left_out"] for c in bundle.explain if not c["delivered"])
    for candidate in bundle.explain:
        assert candidate["score"] == pytest.approx(sum(candidate["signals"].values()), abs=0.002)


@pytest.fixture(scope="module")
def shared(shared_pool: Pool) -> Services:
    services = Services(
        settings=Settings(),
        pool=shared_pool,
        embedder=LocalEmbedder(),
        ping_broker=lambda: None,
    )
    told(services, "acme")
    return services


@settings(max_examples=80, deadline=None)
@given(
    task=st.text(min_size=1, max_size=400).filter(lambda text: "\x00" not in text),
    max_tokens=st.integers(1, 400),
    session_id=st.sampled_from([None, "s0", "s1", "other"]),
)
def test_no_task_and_no_budget_ever_exceeds_it(
    shared: Services, task: str, max_tokens: int, session_id: str | None
) -> None:
    bundle = ask(shared, task, max_tokens=max_tokens, session_id=session_id)
    assert bundle.token_estimate == count_tokens(bundle.assembled_context) <= max_tokens


@settings(max_examples=40, deadline=None)
@given(max_tokens=st.integers(60, 2000), word=st.sampled_from(["export", "invoices", "office", "Globex"]))
def test_a_budget_that_holds_something_is_not_left_empty(shared: Services, max_tokens: int, word: str) -> None:
    bundle = ask(shared, f"Tell me about the {word}", max_tokens=max_tokens)
    assert bundle.episodes or bundle.facts or bundle.procedures


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(max_size=300).filter(lambda text: "\x00" not in text), min_size=1, max_size=6))
def test_any_text_can_be_stored_compiled_and_asked_for(shared: Services, texts: list[str]) -> None:
    tenant = str(uuid4())
    clean = [text.encode("utf-8", "ignore").decode() for text in texts]
    episodes = [NewEpisode(subject_id="ada", source="chat", type="message", payload={"text": text}) for text in clean]
    append_episodes(shared, tenant, episodes, request_id=None)
    compile_now(shared, tenant, "ada", request_id=None)
    request = ContextRequest(subject_id="ada", task=clean[0][:100] or "x", max_tokens=200)
    bundle = assemble_context(shared, tenant, request, now=NOW)
    assert bundle.token_estimate <= 200
