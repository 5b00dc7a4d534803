"""`/readyz` knows how the models are without ever asking them."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.readiness import Check, readiness
from pipelines.services import Services
from tests.fixtures import provider as behave
from tests.fixtures.provider import Provider
from tests.pipelines.llm.conftest import ask_for_run, tell, work


def llm(services: Services) -> Check:
    return next(check for check in readiness(services).checks if check.name == "llm")


def test_where_rules_compile_it_is_skipped(serve: Callable[..., Services]) -> None:
    check = llm(serve(compiler_type="heuristic"))
    assert (check.status, check.detail) == ("ok", "skipped: no model is configured to compile")


def test_it_is_fine_until_all_models_are_left_alone_and_asks_nobody(llm_services: Services, provider: Provider) -> None:
    assert llm(llm_services).status == "ok"
    tell(llm_services, "I live in Lyon.")
    provider.then(behave.fails(401))
    work(llm_services, ask_for_run(llm_services), at_once=False)
    asked = len(provider.asked)
    check = llm(llm_services)
    assert (check.status, check.detail) == ("degraded", "left alone for now: openai/gpt-4o-mini (authentication)")
    assert readiness(llm_services).status == "degraded"
    assert len(provider.asked) == asked
