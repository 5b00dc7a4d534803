"""Slots for calls, shared by the whole fleet: so many may be under way at once, however many workers there are.

A slot is a lease in a sorted set of Redis, scored by the time at which it ends, so a worker that dies gives its slots
back by doing nothing. Who waits is woken by who leaves. Without Redis each process counts for itself: work goes on,
bounded by the limit per process.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator

import structlog

from config.deferred import redis

log = structlog.get_logger()

#: Seconds for which a waiter sleeps at most; leases that ran out wake nobody.
_NAP_SECONDS = 1

#: Milliseconds of Redis's own clock, so that workers' clocks need not agree. KEYS: leases, bell.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

_LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[2], '1')
redis.call('LTRIM', KEYS[2], 0, ARGV[2] - 1)
redis.call('PEXPIRE', KEYS[2], 60000)
"""


class NoSlot(Exception):
    """All slots were taken for as long as the caller would wait."""


class Slots:
    """Slots of one kind of call."""

    def __init__(self, client: redis.Redis | None, name: str, *, limit: int) -> None:
        self._client = client
        self._leases = f"statewave:slots:{name}"
        self._bell = f"statewave:slots:{name}:bell"
        self._limit = limit
        self._local = threading.BoundedSemaphore(limit)

    @contextlib.contextmanager
    def slot(self, *, lease_seconds: float, wait_seconds: float) -> Iterator[None]:
        """Hold a slot inside the block.

        Args:
            lease_seconds: after this long the slot counts as given back, whoever holds it.

        Raises:
            NoSlot: when none became free in time.
        """
        deadline = time.monotonic() + wait_seconds
        holder = secrets.token_hex(8)
        if not self._local.acquire(timeout=wait_seconds):
            raise NoSlot
        try:
            shared = self._take(holder, lease_seconds, deadline)
            try:
                yield
            finally:
                if shared:
                    self._leave(holder)
        finally:
            self._local.release()

    def _take(self, holder: str, lease_seconds: float, deadline: float) -> bool:
        """Wait for a slot of the fleet; False when there is no Redis to ask."""
        if self._client is None:
            return False
        arguments = (2, self._leases, self._bell, holder, self._limit, int(lease_seconds * 1000))
        try:
            while not self._client.eval(_TAKE, *arguments):
                if time.monotonic() >= deadline:
                    raise NoSlot
                self._client.blpop([self._bell], timeout=_NAP_SECONDS)
        except redis.RedisError as ex:
            log.warning("slots counted per process", reason=type(ex).__name__)
            return False
        return True

    def _leave(self, holder: str) -> None:
        assert self._client is not None
        # Without Redis the lease ends by itself.
        with contextlib.suppress(redis.RedisError):
            self._client.eval(_LEAVE, 2, self._leases, self._bell, holder, self._limit)

    def taken(self) -> int:
        """How many slots are held now, over the whole fleet; 0 when nobody knows."""
        if self._client is None:
            return 0
        try:
            return int(self._client.zcard(self._leases))
        except redis.RedisError:
            return 0
