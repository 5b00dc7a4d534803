"""Takes the calls that other processes hand in (`pipelines.providers.desk`), in workers that serve the queue `llm`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis
import structlog
from dramatiq import Broker, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

from actors.broker import connect
from config.ids import uuid7
from config.settings import Settings
from pipelines.providers import desk
from pipelines.providers.calls import ProviderFailure
from pipelines.providers.desk import Answer, CompleteCall, Completed, EmbedCall, Failed, HandedIn, Reranked
from pipelines.providers.endpoints import with_key

log = structlog.get_logger()

#: Calls that one process has under way at most. Each waits for a provider and costs hardly any processor time.
THREADS = 8

#: Of these, how many take nothing but what somebody waits for.
INTERACTIVE_ONLY = 3

#: Seconds that a thread waits for a call before it says again that the desk is open, and for how long it says so.
WAIT_SECONDS = 2.0
OPEN_SECONDS = 10

#: Seconds that stopping waits for a call under way.
STOP_SECONDS = 5.0

#: Seconds to wait after Redis did not answer.
RECOVERY_SECONDS = 0.5


class DeskThreads:
    """The threads of one process."""

    def __init__(self, client: redis.Redis, answer: Callable[[HandedIn], Answer]) -> None:
        self._client = client
        self._answer = answer
        self._stopped = threading.Event()
        #: A list on Redis that wakes this process's threads when they are to stop.
        self._bell = f"statewave:desk:bell:{uuid7()}"
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"provider-desk-{number}", daemon=True)
            for number in range(THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no further calls; those under way are answered if they end soon."""
        self._stopped.set()
        try:
            pipeline = self._client.pipeline()
            pipeline.lpush(self._bell, *[b""] * THREADS)
            pipeline.expire(self._bell, OPEN_SECONDS)
            pipeline.execute()
        except RedisError as ex:
            log.warning("provider desk has no broker", reason=type(ex).__name__)
        for thread in self._threads:
            thread.join(timeout=STOP_SECONDS)

    def _serve(self, number: int) -> None:
        queues = [desk.INTERACTIVE] if number < INTERACTIVE_ONLY else [desk.INTERACTIVE, desk.BACKGROUND]
        while not self._stopped.is_set():
            try:
                self._client.set(desk.OPEN, b"1", ex=OPEN_SECONDS)
                found: Any = self._client.brpop([self._bell, *queues], timeout=WAIT_SECONDS)
                if found is not None and not self._stopped.is_set():
                    self._take(found[1])
            except RedisError as ex:
                log.warning("provider desk has no broker", reason=type(ex).__name__)
                self._stopped.wait(RECOVERY_SECONDS)

    def _take(self, raw: bytes) -> None:
        handed_in = desk.decode_call(raw)
        if handed_in.until < time.time():
            return
        try:
            answer = self._answer(handed_in)
        except Exception as ex:
            # Whatever it is, the caller must not wait for nothing. Texts of exceptions may quote content.
            log.error("provider call failed", error=type(ex).__name__)
            answer = Failed(reason="unavailable", model="", status=None, retry_after=None, code=None)
        key = desk.ANSWER + handed_in.id
        pipeline = self._client.pipeline()
        pipeline.lpush(key, desk.encode_answer(answer))
        pipeline.expire(key, desk.ANSWER_SECONDS)
        pipeline.execute()


def answer_with(settings: Settings) -> Callable[[HandedIn], Answer]:
    """Makes calls with the keys of these settings: those who hand calls in send none."""
    from pipelines.providers import adapter

    def answer(handed_in: HandedIn) -> Answer:
        call = handed_in.call
        try:
            if isinstance(call, EmbedCall):
                endpoint = with_key(settings, call.endpoint)
                made = adapter.embed(endpoint, call.texts, dimensions=call.dimensions)
                data = made.vectors.astype("<f4").tobytes()
                return desk.Vectors(dimensions=made.vectors.shape[1], data=data, usage=made.usage)
            if isinstance(call, CompleteCall):
                endpoint = with_key(settings, call.completion.endpoint)
                return Completed(result=adapter.complete(msgspec.structs.replace(call.completion, endpoint=endpoint)))
            endpoint = with_key(settings, call.endpoint)
            return Reranked(ranking=adapter.rerank(endpoint, call.query, call.documents))
        except ProviderFailure as ex:
            return Failed(reason=ex.reason, model=ex.model, status=ex.status, retry_after=ex.retry_after, code=ex.code)

    return answer


class ProviderDeskThreads(Middleware):
    """Opens the desk in workers that serve `llm`, if LiteLLM is installed there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._desk: DeskThreads | None = None

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        from pipelines.providers import adapter

        served = worker.consumer_whitelist
        if (served and "llm" not in served) or not isinstance(broker, RedisBroker) or not adapter.is_installed():
            return
        self._desk = DeskThreads(connect(self._settings.redis_url or ""), answer_with(self._settings))
        self._desk.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self._desk is not None:
            self._desk.stop()
