"""A circuit breaker per endpoint, shared by the fleet: a provider that keeps failing is left alone for a while.

    closed ──3 failures in a row──▶ open for 30 s ──▶ one caller tries ──▶ closed, or open again

The state is in Redis, so what one worker finds out spares the others. Without Redis every call is allowed.
"""

from __future__ import annotations

from hashlib import blake2b

import structlog

from config.deferred import redis
from pipelines.providers.calls import Endpoint, ProviderFailure, Reason

log = structlog.get_logger()

#: Failures without a success between them that open the circuit.
FAILURES = 3

#: Seconds for which it is open.
OPEN_SECONDS = 30.0

#: Longest wait a provider may ask for that keeps the circuit open; a run waits for the rest.
MOST_OPEN_SECONDS = 300.0

#: Seconds after which failures that nothing followed are forgotten.
_MEMORY_SECONDS = 600

#: What says something about the request and nothing about the provider.
OF_REQUEST: frozenset[Reason] = frozenset({"context_window", "content_policy", "refused", "unusable_answer"})

#: What will be the same for the next caller, so one failure is enough.
_AT_ONCE: frozenset[Reason] = frozenset({"authentication", "not_found", "out_of_credit"})

_PREFIX = "statewave:breaker:"


class Breaker:
    """Whether endpoints may be called, and what became of calls."""

    def __init__(self, client: redis.Redis | None) -> None:
        self._client = client

    def wait_seconds(self, endpoint: Endpoint, *, trial_seconds: float) -> float:
        """0 when the endpoint may be called now, else the seconds until it may be.

        Args:
            trial_seconds: how long the one caller that tries a half-open circuit is waited for.
        """
        if self._client is None:
            return 0.0
        name = _name(endpoint)
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.pttl(f"{name}:open")
            pipeline.get(f"{name}:failures")
            left, failures = pipeline.execute()
            if left > 0:
                return float(left) / 1000
            if int(failures or 0) < FAILURES:
                return 0.0
            if self._client.set(f"{name}:trial", "1", nx=True, px=int(trial_seconds * 1000)):
                return 0.0
            return max(float(self._client.pttl(f"{name}:trial")), 0.0) / 1000
        except redis.RedisError as ex:
            log.warning("circuit breaker without its memory", reason=type(ex).__name__)
            return 0.0

    def succeeded(self, endpoint: Endpoint) -> None:
        """The endpoint answered: forget its failures."""
        if self._client is None:
            return
        name = _name(endpoint)
        try:
            self._client.delete(f"{name}:open", f"{name}:failures", f"{name}:trial", f"{name}:reason")
        except redis.RedisError as ex:
            log.warning("circuit breaker without its memory", reason=type(ex).__name__)

    def failed(self, endpoint: Endpoint, failure: ProviderFailure) -> None:
        """The endpoint failed; after some failures, or when it asks for a pause, it is left alone."""
        if self._client is None or failure.reason in OF_REQUEST:
            return
        name = _name(endpoint)
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.incr(f"{name}:failures")
            pipeline.expire(f"{name}:failures", _MEMORY_SECONDS)
            pipeline.set(f"{name}:reason", failure.reason, ex=_MEMORY_SECONDS)
            pipeline.delete(f"{name}:trial")
            failures = int(pipeline.execute()[0])
            pause = min(failure.retry_after or 0.0, MOST_OPEN_SECONDS)
            if failures >= FAILURES or failure.reason in _AT_ONCE:
                pause = max(pause, OPEN_SECONDS)
            if pause > 0:
                self._client.set(f"{name}:open", "1", px=max(1, int(pause * 1000)))
                log.warning("provider left alone", model=endpoint.model, reason=failure.reason, seconds=round(pause, 1))
        except redis.RedisError as ex:
            log.warning("circuit breaker without its memory", reason=type(ex).__name__)

    def trouble(self, endpoint: Endpoint) -> str | None:
        """Why the endpoint is left alone now; None when it is not.

        Raises:
            redis.exceptions.RedisError: when nobody knows.
        """
        if self._client is None:
            return None
        name = _name(endpoint)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.exists(f"{name}:open")
        pipeline.get(f"{name}:reason")
        is_open, reason = pipeline.execute()
        return (reason or b"unavailable").decode() if is_open else None


def _name(endpoint: Endpoint) -> str:
    digest = blake2b(f"{endpoint.model}\0{endpoint.api_base or ''}".encode(), digest_size=8)
    return _PREFIX + digest.hexdigest()
