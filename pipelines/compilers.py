"""Which compiler drafts a batch: the rules, or a model, or the rules because no model may or can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from config.clock import utcnow
from config.ids import uuid7
from pipelines.claims import DEFAULT_CLAIM_KEYS, ClaimKeys
from pipelines.compilation import DraftMemory
from pipelines.drafting import Drafts, FailedEpisode, Waiting, draft_subject, read_episode
from pipelines.failures import describe
from pipelines.llm.compiler import LlmCompiler, Read, source_of
from pipelines.provider_usage import check_budget
from pipelines.providers.calls import Completion, CompletionResult, Endpoint, Message, ProviderFailure
from pipelines.providers.fleet import ModelFleet, OnBehalfOf
from pipelines.services import Services
from pipelines.tenant_config import tenant_config
from storage import partial_outputs
from storage.episodes import UncompiledEpisode
from storage.rows import Run
from storage.transactions import Connection, tenant_transaction

log = structlog.get_logger()

#: Windows of one batch. A batch is published as a whole, so this bounds what a failure can cost and how long readers
#: wait for the first memories of a large subject.
MOST_WINDOWS = 64

#: Attempts of a run after which `STATEWAVE_COMPILE_FALLBACK` comes true for failures that pass.
ATTEMPTS_BEFORE_FALLBACK = 3

#: In the run's result: why rules compiled although a model should have.
FALLBACK = "fallback"


def draft_waiting(services: Services, run: Run, waiting: Waiting) -> Drafts:
    """Draft memories of the waiting episodes; with a model, of as many of the oldest as make a batch.

    Raises:
        ProviderFailure: when no model answered. Nothing is consumed.
    """
    models = services.models
    if models is None or not waiting.episodes:
        return draft_subject(waiting, kind_ttl_days=services.settings.kind_ttl_days)
    with tenant_transaction(services.pool, run.tenant_id) as conn:
        budget = check_budget(conn, run.tenant_id, utcnow(), settings=services.settings)
        claim_keys = claim_keys_of(conn, run.tenant_id)
        answers = RunAnswers(services, run, partial_outputs.parts(conn, run))
    if not budget.is_allowed:
        log.info("compiled by rules", because="budget exhausted")
        return _by_rules(services, waiting, f"budget exhausted: {budget.reason}")
    compiler = LlmCompiler(
        ask=RunAsks(models, services, run), answers=answers, settings=services.settings, claim_keys=claim_keys
    )
    try:
        return _draft_with(compiler, waiting)
    except ProviderFailure as ex:
        if not may_fall_back(services, run, ex):
            raise
        log.warning("compiled by rules", because=ex.reason, model=ex.model)
        return _by_rules(services, waiting, str(ex))


def claim_keys_of(conn: Connection, tenant_id: str) -> ClaimKeys:
    """The known claim keys and those that the tenant added."""
    added = tenant_config(conn, tenant_id).claim_keys
    return DEFAULT_CLAIM_KEYS.with_additions(added) if added else DEFAULT_CLAIM_KEYS


def may_fall_back(services: Services, run: Run, ex: ProviderFailure) -> bool:
    """Whether the run goes on without a model now, as `STATEWAVE_COMPILE_FALLBACK` says."""
    if services.settings.compile_fallback != "heuristic":
        return False
    return not ex.transient or ex.reason == "circuit_open" or run.attempts >= ATTEMPTS_BEFORE_FALLBACK


def _by_rules(services: Services, waiting: Waiting, reason: str) -> Drafts:
    drafts = draft_subject(waiting, kind_ttl_days=services.settings.kind_ttl_days)
    return msgspec.structs.replace(drafts, notes={"compiler": "heuristic", FALLBACK: reason})


def _draft_with(compiler: LlmCompiler, waiting: Waiting) -> Drafts:
    taken: list[UncompiledEpisode] = []
    read: list[Read] = []
    failed: list[FailedEpisode] = []
    windows = 0
    for episode in waiting.episodes:
        try:
            said = _read(episode, waiting.speakers)
        except Exception as ex:
            # Reading one episode's text depends on nothing else: it would fail again.
            failed.append(FailedEpisode(id=episode.id, seq=episode.seq, error=describe(ex)))
            taken.append(episode)
            continue
        windows += compiler.calls_for(said.utterances)
        if windows > MOST_WINDOWS and taken:
            break
        taken.append(episode)
        read.append(said)
    drafts: list[DraftMemory] = [draft for found in compiler.compile(read) for draft in found]
    return Drafts(
        after_seq=waiting.after_seq,
        through_seq=taken[-1].seq,
        episodes=len(taken),
        ids=[uuid7() for _ in drafts],
        memories=drafts,
        failed=failed,
    )


def _read(episode: UncompiledEpisode, speakers: Sequence[str]) -> Read:
    stored, utterances = read_episode(episode, speakers)
    spoken = [said for said in utterances if said.text.strip()]
    return Read(source_of(stored, spoken), spoken)


class RunAsks:
    """Asks on behalf of a run."""

    def __init__(self, models: ModelFleet, services: Services, run: Run) -> None:
        self._models = models
        self._settings = services.settings
        self._on_behalf_of = OnBehalfOf(tenant_id=run.tenant_id, subject_id=run.subject_id, run_id=run.id)

    def __call__(self, messages: list[Message], *, json_schema: dict[str, Any], max_tokens: int) -> CompletionResult:
        completion = Completion(
            endpoint=Endpoint(model=""),
            messages=messages,
            max_tokens=max_tokens,
            temperature=self._settings.litellm_temperature,
            reasoning_effort=self._settings.litellm_reasoning_effort,
            json_schema=json_schema,
        )
        return self._models.complete(completion, self._on_behalf_of)


class RunAnswers:
    """Answers kept with a run until its batch is published."""

    def __init__(self, services: Services, run: Run, kept: dict[str, bytes]) -> None:
        self._pool = services.pool
        self._run = run
        self._kept = kept

    def get(self, key: str) -> bytes | None:
        return self._kept.get(key)

    def keep(self, key: str, answer: bytes) -> None:
        with tenant_transaction(self._pool, self._run.tenant_id) as conn:
            partial_outputs.keep_part(conn, self._run, key, answer)
