"""`statewave scheduler`: periodiq with our periodic actors, without a supervisor.

It drives periodiq's scheduler itself instead of its command line, which takes no signals as the first process of a
container and sets the log level on its own.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from cli.process import prepare
from storage import pulses

#: periodiq forgets the rest of a minute it starts too late in.
LATE_IN_MINUTE = 55

#: Seconds until Redis is tried again that did not answer.
RECONNECT_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none: what runs when is declared beside each periodic actor."""


def run(arguments: argparse.Namespace) -> int:
    """Send the periodic actors' messages when they are due, until told to stop."""
    data_dir = Path(prepare("scheduler").data_dir)
    pulses.forget_all(data_dir, "scheduler")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)

    import redis
    import structlog
    from periodiq import Scheduler

    from actors.main import broker

    periodic = [actor for actor in broker.actors.values() if "periodic" in actor.options]
    log = structlog.get_logger("scheduler")
    log.info("scheduling", actors={actor.actor_name: str(actor.options["periodic"]) for actor in periodic})
    second = time.gmtime().tm_sec
    if second > LATE_IN_MINUTE:
        time.sleep(60 - second)

    class LivingScheduler(Scheduler):  # type: ignore[misc]
        """Gives a sign of life with every tick, which is every minute."""

        def schedule(self) -> None:
            super().schedule()
            pulses.beat(data_dir, "scheduler")

    scheduler = LivingScheduler(actors=periodic)
    while True:
        try:
            scheduler.schedule()
            scheduler.loop()
        except redis.RedisError as ex:
            # Ticks are rows: looking late, or once too often, does no harm.
            log.warning("Redis is away", reason=type(ex).__name__)
            time.sleep(RECONNECT_SECONDS)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
