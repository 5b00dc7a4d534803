"""Any history: exported, erased without a trace, and imported as it was."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import redis
from hypothesis import HealthCheck, given, settings

from config.settings import Settings
from pipelines.compile import compile_now
from pipelines.embedders import open_embedder
from pipelines.erasure import erase_subject
from pipelines.portability.importing import Wishes
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from storage.transactions import Pool, open_pool, operator_transaction
from tests.fixtures.databases import DatabaseMaker, everything_as_text
from tests.pipelines.test_erasure import prove, say
from tests.pipelines.test_portability import document, seen, take_in

#: Words that nothing but the history holds.
WORDS = ("xylqorpha", "vuntrempic", "zogliandra", "Brexwyn", "Quillomar")

TEXTS = st.builds(
    str.format,
    st.sampled_from(
        [
            "My name is {}. I live in {}.",
            "I moved: I live in {} now, said {}.",
            "The {} fails with error E-17. Please restart the {}.",
            "I prefer {}.\nI work at {}.",
            "{} {}?",
        ]
    ),
    st.sampled_from(WORDS),
    st.sampled_from(WORDS),
)

STEPS = st.one_of(
    st.tuples(st.just("say"), TEXTS, st.sampled_from(["s1", "s2"])),
    st.tuples(st.just("compile")),
    st.tuples(st.just("resolve"), st.sampled_from(WORDS), st.sampled_from(["open", "resolved"])),
    st.tuples(st.just("label"), st.sampled_from(WORDS)),
    st.tuples(st.just("look")),
)


def live(services: Services, steps: list[tuple[str, ...]]) -> None:
    say(services, "I am Quillomar of Brexwyn.")
    for step in steps:
        match step:
            case ("say", text, session_id):
                say(services, text, session_id=session_id)
            case ("compile",):
                compile_now(services, "acme", "ada", request_id=None)
            case ("resolve", summary, status):
                record_resolution(
                    services,
                    "acme",
                    subject_id="ada",
                    session_id="s1",
                    summary=summary,
                    status="open" if status == "open" else "resolved",
                )
            case ("label", label):
                with operator_transaction(services.pool) as conn:
                    conn.execute("update memories set suggested_labels = %s, updated_at = now()", ([label],))
            case _:
                seen(services)


def test_any_history_is_erased_without_a_trace_and_comes_back_as_it_was(
    new_database: DatabaseMaker, redis_url: str
) -> None:
    with new_database() as url, open_pool(url, size=4) as pool:
        whole_story(pool, Settings(database_url=url, redis_url=redis_url, auto_compile_after_seconds=None))


def whole_story(pool: Pool, configured: Settings) -> None:
    services = Services(settings=configured, pool=pool, embedder=open_embedder(configured), ping_broker=lambda: None)
    told = replace(services, settings=replace(configured, webhook_url="https://hooks.example.com/"))

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=st.lists(STEPS, max_size=8))
    def holds(steps: list[tuple[str, ...]]) -> None:
        live(told, steps)
        before, taken = seen(services), document(services)
        assert "Quillomar" in everything_as_text(pool)
        erase_subject(told, "acme", "ada")
        proof = prove(services)
        assert proof["left"] == 0 and proof["removed"] == {}
        dump = everything_as_text(pool) + everything_in_redis(configured.redis_url or "")
        assert not [word for word in WORDS if word in dump]
        take_in(services, taken, Wishes(by="dpo", include_erased=True))
        assert seen(services) == before
        erase_subject(services, "acme", "ada")
        prove(services)

    holds()


def everything_in_redis(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return " ".join(f"{key!r} {client.dump(key)!r}" for key in client.scan_iter())
