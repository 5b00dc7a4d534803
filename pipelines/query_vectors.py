"""The vector of a query: remembered here, remembered on Redis, or made; by one of those who need it at the same time.

Providers take a tenth of a second and more, and charge; encoders of this machine take milliseconds; the same questions
come again. What fails is not tried again for a moment, and readers go by words alone meanwhile.

Key on Redis: `statewave:query:HASH` the vector, little-endian float32, for a day. The query itself is not stored.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from hashlib import blake2b
from typing import Any

import numpy as np
import redis
import structlog
from numpy.typing import NDArray
from redis.exceptions import RedisError

from pipelines.providers.account import BudgetExhausted
from pipelines.providers.calls import ProviderFailure

log = structlog.get_logger()

KEY = "statewave:query:"

#: Queries remembered by a process, and for how long (contract: core §9).
MOST_REMEMBERED = 256
REMEMBERED_SECONDS = 3600.0

#: Seconds that Redis remembers a query (contract: core §9).
SHARED_SECONDS = 24 * 3600

#: Seconds for which a model that failed is not asked again by this process, unless it says how long.
COOL_DOWN_SECONDS = 5.0
MOST_COOL_DOWN_SECONDS = 60.0

#: Seconds that a caller waits for another one that is making the same vector.
FLIGHT_SECONDS = 30.0

Vector = NDArray[np.float32]


class QueryVectors:
    """The caches of one process. Safe to share between threads.

    Args:
        client: Redis; None does without it.
    """

    def __init__(self, client: redis.Redis | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: OrderedDict[bytes, tuple[float, Vector]] = OrderedDict()
        self._flying: dict[bytes, Future[Vector | None]] = {}
        self._cold_until: dict[str, float] = {}

    def of(self, model: str, text: str, make: Callable[[], Vector], *, is_shared: bool) -> Vector | None:
        """The vector of a query; None when the model fails, or failed a moment ago.

        Args:
            make: asks the model.
            is_shared: whether Redis remembers it too: slower than the bundled model, quicker than any other.
        """
        key = blake2b(f"{model}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            found = self._remembered.get(key)
            if found is not None and found[0] > self._clock():
                self._remembered.move_to_end(key)
                return found[1]
            if self._cold_until.get(model, 0.0) > self._clock():
                return self._shared(key) if is_shared else None
            flight = self._flying.get(key)
            is_first = flight is None
            if flight is None:
                flight = self._flying[key] = Future()
        if not is_first:
            try:
                return flight.result(FLIGHT_SECONDS)
            except TimeoutError:
                return None
        vector: Vector | None = None
        try:
            vector = self._found_or_made(key, model, make, is_shared=is_shared)
            return vector
        finally:
            with self._lock:
                del self._flying[key]
            flight.set_result(vector)

    def _found_or_made(self, key: bytes, model: str, make: Callable[[], Vector], *, is_shared: bool) -> Vector | None:
        vector = self._shared(key) if is_shared else None
        if vector is None:
            try:
                vector = make()
            except BudgetExhausted:
                return None  # of this tenant: others are not kept from asking
            except Exception as ex:  # whatever it is, readers have their words
                self._cool_down(model, ex)
                return None
            if is_shared:
                self._share(key, vector)
        vector.setflags(write=False)
        with self._lock:
            self._remembered[key] = (self._clock() + REMEMBERED_SECONDS, vector)
            self._remembered.move_to_end(key)
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return vector

    def _cool_down(self, model: str, ex: Exception) -> None:
        asked = getattr(ex, "retry_after", None) or COOL_DOWN_SECONDS
        seconds = min(float(asked), MOST_COOL_DOWN_SECONDS)
        with self._lock:
            self._cold_until[model] = self._clock() + seconds
        reason = ex.reason if isinstance(ex, ProviderFailure) else type(ex).__name__
        log.warning("query not embedded", model=model, reason=reason, words_only_seconds=round(seconds, 1))

    def _shared(self, key: bytes) -> Vector | None:
        if self._client is None:
            return None
        try:
            found: Any = self._client.get(KEY + key.hex())
        except RedisError:
            return None
        return np.frombuffer(found, dtype="<f4") if found else None

    def _share(self, key: bytes, vector: Vector) -> None:
        if self._client is None:
            return
        try:
            self._client.set(KEY + key.hex(), vector.astype("<f4").tobytes(), ex=SHARED_SECONDS)
        except RedisError as ex:
            log.debug("query vector not shared", reason=type(ex).__name__)
