"""The broker and its queues.

Redis holds wake-ups only. Losing all of it costs seconds, because the relay (`actors.relay`) sends again whatever is
due; Dramatiq's own retries, delays, results and dead letters are therefore not used.

Keys (namespace `statewave`, per queue Q): `statewave:Q` ids waiting, `statewave:Q.msgs` their messages,
`statewave:__acks__.W.Q` what worker W has fetched, `statewave:__heartbeats__` when each worker was last heard.
"""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    CurrentMessage,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)

NAMESPACE = "statewave"

#: Seconds until a Redis that does not answer counts as away.
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0

#: Seconds after which an idle connection is tried before it is used.
HEALTH_CHECK_SECONDS = 30

#: Milliseconds until the messages of a silent worker are handed back. The relay is faster; this only tidies up.
HEARTBEAT_TIMEOUT_MS = 30_000

#: Share of commands, per million, that look for silent workers (default 1,000: one command in a thousand).
MAINTENANCE_CHANCE = 50_000


def connect(redis_url: str) -> redis.Redis:
    """A client of Redis with our patience."""
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        health_check_interval=HEALTH_CHECK_SECONDS,
    )


def build_broker(redis_url: str, *, middleware: Sequence[dramatiq.Middleware] = ()) -> RedisBroker:
    """The broker, set as Dramatiq's global one. Actors must be imported after it.

    Args:
        middleware: What the process needs besides; the API, which only sends, needs none.
    """
    broker = RedisBroker(
        # A client of our own: the broker's `url` takes no further options.
        client=connect(redis_url),
        namespace=NAMESPACE,
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
        middleware=[
            AgeLimit(),
            TimeLimit(),
            ShutdownNotifications(),
            Callbacks(),
            Pipelines(),
            Retries(max_retries=0),
            CurrentMessage(),
            *middleware,
        ],
    )
    dramatiq.set_broker(broker)
    return broker
