"""Compile runs with a model: what they make, what they pay, and that no failure of a provider consumes an episode."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from config.errors import CompilationFailed, Conflict
from pipelines.attempts import ATTEMPTS_ALONE
from pipelines.compile import compile_now
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.providers import adapter
from pipelines.services import Services
from storage.transactions import operator_transaction
from tests.fixtures import provider as behave
from tests.fixtures.models import attentive, lines, memories, records
from tests.fixtures.provider import Asked, Provider
from tests.pipelines.llm.conftest import (
    SUBJECT,
    TENANT,
    active,
    ask_for_run,
    contents,
    find,
    forgive,
    tell,
    waiting,
    work,
)

STORY = ("I work at Globex.", "I live in Lyon.", "Please write to me in French.")


@contextmanager
def worker(services: Services) -> Iterator[None]:
    """Work on every run that waits, beside the test."""
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.wait(0.01):
            with operator_transaction(services.pool) as conn:
                due = conn.execute("select id from runs where state in ('pending', 'running') and run_after <= now()")
                ids = [run_id for (run_id,) in due.fetchall()]
            for run_id in ids:
                work(services, run_id, at_once=False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_a_run_makes_memories_of_what_the_model_found(llm_services: Services, provider: Provider) -> None:
    tell(llm_services, *STORY)
    run = work(llm_services, ask_for_run(llm_services))
    assert (run.state, run.queue) == ("completed", "llm")
    assert contents(llm_services) == sorted(STORY)
    assert len(active(llm_services, "episode_summary")) == 3
    assert waiting(llm_services) == 0
    fact = next(memory for memory in active(llm_services, "profile_fact") if "Globex" in memory.content)
    metadata = json.loads(bytes(fact.metadata))
    assert (metadata["compiler"], metadata["model"]) == ("llm", "openai/gpt-4o-mini")
    assert metadata["claim"]["value"] == "Globex"
    assert fact.confidence == 0.9
    assert len(fact.source_episode_ids) == 1
    [asked] = provider.calls()
    assert asked.body["temperature"] == 0.1
    assert asked.body["max_tokens"] == 8000
    assert "response_format" in asked.body


def test_nothing_of_a_long_episode_is_cut_off(llm_services: Services, provider: Provider) -> None:
    text = " ".join(f"Fact number {number}." for number in range(4000))
    tell(llm_services, text)
    assert work(llm_services, ask_for_run(llm_services)).state == "completed"
    shown = " ".join(line["text"] for asked in provider.calls() for _, line in lines(asked))
    assert all(f"number {number}." in shown for number in range(4000))
    assert all(len(line["text"]) <= 6000 for asked in provider.calls() for _, line in lines(asked))
    assert len(active(llm_services, "episode_summary")) == 1, "one summary, not one for each window"


def test_the_clients_own_candidates_cost_no_call(llm_services: Services, provider: Provider) -> None:
    candidates = [{"kind": "profile_fact", "text": "The user has a parrot."}]
    tell(llm_services, "I have a parrot.", statewave={"memory_candidates": candidates})
    assert work(llm_services, ask_for_run(llm_services)).state == "completed"
    assert [memory.content for memory in active(llm_services)] == ["The user has a parrot."]
    assert provider.asked == []


def test_nobody_is_asked_about_silence(llm_services: Services, provider: Provider) -> None:
    silent = NewEpisode(subject_id=SUBJECT, source="meter", type="reading", payload={})
    append_episodes(llm_services, TENANT, [silent], request_id=None)
    assert work(llm_services, ask_for_run(llm_services)).state == "completed"
    assert (active(llm_services), provider.asked, waiting(llm_services)) == ([], [], 0)


@pytest.mark.parametrize(
    "trouble",
    [
        behave.rate_limited("7"),
        behave.fails(500),
        behave.fails(401),
        behave.cut_off,
        behave.invalid_json,
        behave.empty,
        behave.wrong_schema,
        behave.says("I found nothing of interest, sorry."),
        behave.says('{"answer": 42}'),
    ],
    ids=["429", "500", "401", "cut off", "invalid JSON", "empty", "another interface", "prose", "wrong schema"],
)
def test_a_failure_consumes_nothing_and_the_run_tries_again(
    llm_services: Services, provider: Provider, trouble: behave.Behaviour
) -> None:
    tell(llm_services, *STORY)
    provider.always(trouble)
    run = work(llm_services, ask_for_run(llm_services), at_once=False)
    assert (run.state, run.attempts) == ("pending", 1)
    assert "ProviderFailure: openai/gpt-4o-mini" in (run.error or "")
    assert (waiting(llm_services), active(llm_services)) == (3, [])
    provider.always(None)
    forgive(llm_services)
    assert work(llm_services, run.id).state == "completed"
    assert contents(llm_services) == sorted(STORY)


def test_a_run_waits_as_long_as_the_provider_asks(llm_services: Services, provider: Provider) -> None:
    tell(llm_services, *STORY)
    provider.then(behave.rate_limited("90"))
    run = work(llm_services, ask_for_run(llm_services))
    with operator_transaction(llm_services.pool) as conn:
        row = conn.execute("select run_after > now() + interval '60 seconds' from runs where id = %s", (run.id,))
        assert row.fetchone() == (True,)


def test_a_provider_that_stays_away_makes_a_dead_letter_with_the_reason(
    llm_services: Services, provider: Provider
) -> None:
    tell(llm_services, *STORY)
    provider.always(behave.fails(503))
    run_id = ask_for_run(llm_services)
    for _ in range(40):
        forgive(llm_services)
        if work(llm_services, run_id).state == "failed":
            break
    run = find(llm_services, run_id)
    assert (run.state, run.attempts) == ("failed", 10)
    assert run.error == "ProviderFailure: openai/gpt-4o-mini: unavailable (status 503, server_error)"
    assert waiting(llm_services) == 3


def test_answers_that_were_paid_for_are_not_asked_for_again(serve: Callable[..., Services], provider: Provider) -> None:
    services = serve(compile_window_chars=500, compile_max_concurrency=1, reconcile_compile_enabled=False)
    tell(services, *(f"{'x' * 400} number {number}" for number in range(4)))
    run_id = ask_for_run(services)
    calls = iter(range(100))
    provider.always(lambda server, asked: behave.fails(500)(server, asked) if next(calls) == 2 else None)
    work(services, run_id, at_once=False)
    assert work(services, run_id).state == "completed"
    assert len(provider.calls()) == 5, "four windows, one of them twice"


def test_an_answer_that_is_cut_off_is_asked_for_in_halves(llm_services: Services, provider: Provider) -> None:
    tell(llm_services, *STORY)

    def short_of_breath(server: Provider, asked: Asked) -> behave.Answer:
        text = attentive(asked)
        if len([record for record in records(asked) if "episode_index" in record]) > 1:
            return behave.chat_answer(asked, text[: len(text) // 2], finish_reason="length")
        return behave.chat_answer(asked, text)

    provider.always(short_of_breath)
    assert work(llm_services, ask_for_run(llm_services)).state == "completed"
    assert contents(llm_services) == sorted(STORY)


def test_one_bad_answer_is_asked_for_in_halves(llm_services: Services, provider: Provider) -> None:
    tell(llm_services, *STORY)
    provider.then(behave.says("No JSON today."))
    assert work(llm_services, ask_for_run(llm_services)).state == "completed"
    assert contents(llm_services) == sorted(STORY)
    assert len([asked for asked in provider.calls() if records(asked)]) == 3


def test_a_server_without_structured_output_is_asked_without(llm_services: Services, provider: Provider) -> None:
    def old(server: Provider, asked: Asked) -> behave.Answer | None:
        return behave.fails(400, code="unknown_field")(server, asked) if "response_format" in asked.body else None

    provider.always(old)
    tell(llm_services, *STORY)
    assert work(llm_services, ask_for_run(llm_services)).state == "completed"
    assert contents(llm_services) == sorted(STORY)


def test_an_episode_that_a_provider_will_not_read_is_set_aside_alone(
    llm_services: Services, provider: Provider
) -> None:
    def prudish(server: Provider, asked: Asked) -> behave.Answer | None:
        return behave.fails(400, code="content_filter")(server, asked) if "forbidden" in asked.prompt else None

    provider.always(prudish)
    tell(llm_services, "I work at Globex.", "I said forbidden words.", "I live in Lyon.")
    run_id = ask_for_run(llm_services)
    for _ in range(ATTEMPTS_ALONE):
        run = work(llm_services, run_id)
    assert run.state == "completed"
    assert contents(llm_services) == ["I live in Lyon.", "I work at Globex."]
    with operator_transaction(llm_services.pool) as conn:
        [(error,)] = conn.execute("select error from runs where kind = 'compile_episode'").fetchall()
    assert "content_policy" in error


def test_what_was_said_is_in_no_log_and_no_error(
    llm_services: Services, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    tell(llm_services, "My secret is lithium.")
    run_id = ask_for_run(llm_services)
    for trouble in (
        behave.fails(500, message="cannot say lithium"),
        behave.fails(422, message="lithium is no word"),
        behave.says("You said lithium, and this is no JSON."),
    ):
        provider.always(trouble)
        forgive(llm_services)
        assert work(llm_services, run_id, at_once=True).state == "pending"
    provider.always(None)
    forgive(llm_services)
    assert work(llm_services, run_id).state == "completed"
    with operator_transaction(llm_services.pool) as conn:
        rows = conn.execute("select error, errors::text, result::text, params::text from runs").fetchall()
    assert "lithium" not in "".join(capfd.readouterr()) + str(rows)


class TestFallback:
    def test_without_it_episodes_wait(self, llm_services: Services, provider: Provider) -> None:
        tell(llm_services, *STORY)
        provider.always(behave.fails(401))
        assert work(llm_services, ask_for_run(llm_services)).state == "pending"
        assert waiting(llm_services) == 3

    def test_rules_compile_what_no_model_will_and_the_run_says_so(
        self, serve: Callable[..., Services], provider: Provider
    ) -> None:
        services = serve(compile_fallback="heuristic")
        tell(services, *STORY)
        provider.always(behave.fails(401))
        run = work(services, ask_for_run(services))
        assert run.state == "completed"
        assert run.result is not None
        assert run.result["compiler"] == "heuristic"
        assert "authentication" in run.result["fallback"]
        assert "I work at Globex" in contents(services)

    def test_what_passes_is_waited_for_a_few_times(self, serve: Callable[..., Services], provider: Provider) -> None:
        services = serve(compile_fallback="heuristic")
        tell(services, *STORY)
        provider.then(behave.fails(500))
        run = work(services, ask_for_run(services))
        assert work(services, run.id).state == "completed"
        assert contents(services) == sorted(STORY), "by the model, at the second attempt"


def test_an_exhausted_budget_leaves_the_work_to_the_rules(serve: Callable[..., Services], provider: Provider) -> None:
    services = serve(llm_daily_budget_tokens=10)
    tell(services, *STORY)
    assert work(services, ask_for_run(services)).state == "completed"
    asked = len(provider.asked)
    tell(services, "I prefer tea.")
    run = work(services, ask_for_run(services))
    assert len(provider.asked) == asked
    assert run.result is not None
    assert run.result["fallback"].startswith("budget exhausted: the daily budget of 10 tokens")
    assert "I prefer tea" in contents(services)


def test_every_call_is_recorded_with_what_it_cost(llm_services: Services, provider: Provider) -> None:
    tell(llm_services, *STORY)
    provider.then(behave.fails(500))
    run_id = ask_for_run(llm_services)
    work(llm_services, run_id)
    work(llm_services, run_id)
    with operator_transaction(llm_services.pool) as conn:
        rows = conn.execute(
            "select outcome, model, provider, run_id, subject_id, input_tokens > 0, cost_usd > 0 from provider_calls"
            " order by at"
        ).fetchall()
    common = ("openai/gpt-4o-mini", "openai", run_id, SUBJECT)
    assert rows == [("unavailable", *common, False, None), ("ok", *common, True, True)]


class TestSynchronously:
    def test_the_caller_waits_for_the_workers(self, llm_services: Services) -> None:
        tell(llm_services, *STORY)
        with worker(llm_services):
            outcome = compile_now(llm_services, TENANT, SUBJECT, request_id=None)
        assert sorted(memory.content for memory in outcome.memories if memory.kind == "profile_fact") == sorted(STORY)
        assert not outcome.has_more
        again = compile_now(llm_services, TENANT, SUBJECT, request_id=None)
        assert (again.memories, again.remaining_episodes) == ([], 0)

    def test_a_provider_that_fails_is_a_502_and_the_episodes_wait(
        self, llm_services: Services, provider: Provider
    ) -> None:
        tell(llm_services, *STORY)
        provider.always(behave.rate_limited("60"))
        with worker(llm_services), pytest.raises(CompilationFailed) as caught:
            compile_now(llm_services, TENANT, SUBJECT, request_id=None)
        assert (caught.value.status, caught.value.code) == (502, "compilation_failed")
        assert waiting(llm_services) == 3

    def test_without_workers_it_is_a_409_and_the_run_stays(self, serve: Callable[..., Services]) -> None:
        services = serve(compile_wait_seconds=0.0)
        tell(services, *STORY)
        with pytest.raises(Conflict):
            compile_now(services, TENANT, SUBJECT, request_id=None)
        assert waiting(services) == 3

    def test_a_dead_letter_is_an_error_that_clients_do_not_retry(
        self, llm_services: Services, provider: Provider
    ) -> None:
        tell(llm_services, *STORY)

        def doom() -> None:
            doomed = 0
            while not doomed:
                with operator_transaction(llm_services.pool) as conn:
                    doomed = conn.execute(
                        "update runs set state = 'failed', finished_at = now() where state = 'pending'"
                    ).rowcount

        timer = threading.Thread(target=doom)
        timer.start()
        with pytest.raises(Conflict) as caught:
            compile_now(llm_services, TENANT, SUBJECT, request_id=None)
        timer.join()
        assert caught.value.code == "compilation_failed"


def test_a_run_that_was_made_for_rules_moves_to_the_models_queue(
    serve: Callable[..., Services], provider: Provider
) -> None:
    tell(serve(compiler_type="heuristic"), *STORY)
    run_id = ask_for_run(serve(compiler_type="heuristic"))
    services = serve()
    assert find(services, run_id).queue == "compile"
    run = work(services, run_id)
    assert (run.queue, run.state) == ("llm", "completed")
    assert contents(services) == sorted(STORY)


def test_rules_never_ask_a_provider(
    serve: Callable[..., Services], provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_load", lambda model: pytest.fail("a provider's library was loaded"))
    services = serve(compiler_type="heuristic")
    tell(services, *STORY)
    assert work(services, ask_for_run(services)).state == "completed"
    assert "I work at Globex" in contents(services)


def test_a_run_takes_so_many_batches_and_another_one_the_rest(
    serve: Callable[..., Services], provider: Provider
) -> None:
    services = serve(compile_batch_size=1, compile_max_iterations=2)
    tell(services, *STORY[:3])
    assert work(services, ask_for_run(services)).state == "completed"
    assert waiting(services) == 1
    assert work(services, ask_for_run(services)).state == "completed"
    assert waiting(services) == 0


def test_what_belongs_together_can_be_told_together(serve: Callable[..., Services], provider: Provider) -> None:
    for composed in (False, True):
        services = serve(compile_compose_unit=composed)
        tell(services, f"I work at Globex {composed}.")
        assert work(services, ask_for_run(services)).state == "completed"
        task = next(asked for asked in reversed(provider.calls()) if "extract memories" in asked.prompt).prompt
        assert ("One fact per profile_fact" in task) is not composed
        assert ("One profile_fact per person or thing" in task) is composed


def test_a_recall_sweep_adds_what_was_missed(serve: Callable[..., Services], provider: Provider) -> None:
    services = serve(compile_recall_sweep=True, reconcile_compile_enabled=False)

    def forgetful(asked: Asked) -> str:
        fact = {"kind": "profile_fact", "episode_index": 0, "line": 0}
        if records(asked, "found"):
            return memories({**fact, "content": "The user lives in Lyon."})
        return memories({**fact, "content": "The user works at Globex."})

    provider.reply = forgetful
    tell(services, "I work at Globex and live in Lyon.")
    assert work(services, ask_for_run(services)).state == "completed"
    assert contents(services) == ["The user lives in Lyon.", "The user works at Globex."]
