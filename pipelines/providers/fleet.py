"""Asking the models that are configured: in their order, within the fleet's slots, sparing those that fail.

Every call is recorded with what it cost, failures too. Nothing is retried here beyond the next model; the run that
asks is tried again as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import msgspec
import structlog

from config.deferred import redis
from config.settings import Settings
from pipelines import provider_usage
from pipelines.providers import adapter
from pipelines.providers.breaker import OF_REQUEST, Breaker
from pipelines.providers.calls import (
    Completion,
    CompletionResult,
    Endpoint,
    ProviderFailure,
    Usage,
    provider_of,
    unanswered,
)
from pipelines.providers.slots import NoSlot, Slots
from storage.transactions import DATABASE_AWAY, Pool

log = structlog.get_logger()

#: Seconds beyond its timeout for which a call may keep its slot.
_SLOT_MARGIN_SECONDS = 30.0

#: Seconds for which a call waits for a slot. A run that waited so long goes back to the end of its queue.
WAIT_FOR_SLOT_SECONDS = 120.0


class OnBehalfOf(msgspec.Struct, frozen=True, kw_only=True):
    """Whose call it is: what usage is summed by."""

    tenant_id: str
    subject_id: str | None = None
    run_id: UUID | None = None


class ModelFleet:
    """The compiler's models. Safe to share between threads."""

    def __init__(self, settings: Settings, pool: Pool, client: redis.Redis | None) -> None:
        self.endpoints = endpoints_of(settings)
        self.breaker = Breaker(client)
        self.slots = Slots(client, "llm", limit=settings.compile_max_concurrency)
        self._pool = pool
        #: Models that refused a schema: they are told by the prompt alone from then on.
        self._schemaless: set[Endpoint] = set()

    def complete(self, completion: Completion, on_behalf_of: OnBehalfOf) -> CompletionResult:
        """Ask one model after the other until one answers. The completion's own endpoint is not looked at.

        Raises:
            ProviderFailure: the one that says most about when to try again: one that passes if there is one, with the
                shortest wait.
        """
        failures: list[ProviderFailure] = []
        for endpoint in self.endpoints:
            wait = self.breaker.wait_seconds(endpoint, trial_seconds=endpoint.timeout_seconds)
            if wait > 0:
                failures.append(ProviderFailure("circuit_open", model=endpoint.model, retry_after=wait))
                continue
            try:
                return self._complete_at(endpoint, completion, on_behalf_of)
            except ProviderFailure as ex:
                failures.append(ex)
                if ex.reason == "busy":
                    break
        raise _most_telling(failures)

    def _complete_at(self, endpoint: Endpoint, completion: Completion, on_behalf_of: OnBehalfOf) -> CompletionResult:
        asked = msgspec.structs.replace(completion, endpoint=endpoint)
        if endpoint in self._schemaless:
            asked = msgspec.structs.replace(asked, json_schema=None)
        try:
            return self._call(asked, on_behalf_of)
        except ProviderFailure as ex:
            if ex.reason != "refused" or asked.json_schema is None:
                raise
        # Servers with the OpenAI interface do not all know structured output.
        result = self._call(msgspec.structs.replace(asked, json_schema=None), on_behalf_of)
        log.info("model takes no schema", model=endpoint.model)
        self._schemaless.add(endpoint)
        return result

    def _call(self, completion: Completion, on_behalf_of: OnBehalfOf) -> CompletionResult:
        endpoint = completion.endpoint
        lease = endpoint.timeout_seconds + _SLOT_MARGIN_SECONDS
        try:
            with self.slots.slot(lease_seconds=lease, wait_seconds=WAIT_FOR_SLOT_SECONDS):
                began = time.monotonic()
                result = adapter.complete(completion)
        except NoSlot:
            raise ProviderFailure("busy", model=endpoint.model) from None
        except ProviderFailure as ex:
            self.breaker.failed(endpoint, ex)
            self._record(unanswered(endpoint.model, time.monotonic() - began), ex.reason, on_behalf_of)
            log.warning("provider failed", model=endpoint.model, reason=ex.reason, status=ex.status)
            raise
        self.breaker.succeeded(endpoint)
        self._record(result.usage, "ok", on_behalf_of)
        return result

    def _record(self, usage: Usage, outcome: str, on_behalf_of: OnBehalfOf) -> None:
        """Keep what a call cost. A database that is away costs the record, not the answer that was paid for."""
        try:
            provider_usage.record_call(
                self._pool,
                tenant_id=on_behalf_of.tenant_id,
                subject_id=on_behalf_of.subject_id,
                run_id=on_behalf_of.run_id,
                kind="completion",
                provider=usage.provider,
                model=usage.model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=None if usage.cost_usd is None else Decimal(repr(usage.cost_usd)),
                latency_ms=usage.latency_ms,
                outcome=outcome,
            )
        except DATABASE_AWAY as ex:
            log.warning("call not recorded", model=usage.model, reason=type(ex).__name__)

    def troubles(self) -> list[tuple[str, str | None]]:
        """Each model with why it is left alone now, None when it is not. Asks nobody but Redis."""
        return [(endpoint.model, self.breaker.trouble(endpoint)) for endpoint in self.endpoints]


def endpoints_of(settings: Settings) -> list[Endpoint]:
    """The compiler's models with their addresses and keys.

    The configured key and address are those of the first model's vendor. A model of another vendor has its own
    variable for the key, so no key is ever sent to somebody else.
    """
    endpoints = []
    vendor = provider_of(settings.compile_models[0])
    for entry in settings.compile_models:
        name, at, address = entry.partition("@http")
        own = provider_of(name) == vendor
        endpoints.append(
            Endpoint(
                model=name,
                api_key=settings.litellm_api_key if own else None,
                api_base=f"http{address}" if at else settings.litellm_api_base if own else None,
                timeout_seconds=settings.litellm_timeout_seconds,
            )
        )
    return endpoints


def _most_telling(failures: Sequence[ProviderFailure]) -> ProviderFailure:
    passing = [failure for failure in failures if failure.transient]
    if not passing:
        about_request = [failure for failure in failures if failure.reason in OF_REQUEST]
        return (about_request or list(failures))[0]
    asked = [failure for failure in passing if failure.reason != "circuit_open"]
    chosen = (asked or passing)[0]
    waits = [failure.retry_after for failure in passing if failure.retry_after is not None]
    # Another model may answer sooner than the one that asks for the longest pause.
    chosen.retry_after = min(waits) if len(waits) == len(failures) else chosen.retry_after
    return chosen
