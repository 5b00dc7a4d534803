"""`statewave scheduler`: periodiq, which has the actor `tick` look every minute, without a supervisor.

Only here is periodiq loaded: for workers a tick is a message like any other. This drives periodiq's scheduler itself
instead of its command line, which takes no signals as the first process of a container and sets the log level on its
own.
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
    """There are none: what runs when is told by `pipelines.schedules`."""


def run(arguments: argparse.Namespace) -> int:
    """Send a tick every minute, until told to stop."""
    data_dir = Path(prepare("scheduler").data_dir)
    pulses.forget_all(data_dir, "scheduler")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)

    import redis
    import structlog
    from periodiq import Scheduler, cron

    from actors.main import maintenance

    # With any other table, periodiq misses the first minute of an hour.
    maintenance.tick.options["periodic"] = cron("* * * * *")
    log = structlog.get_logger("scheduler")
    log.info("scheduling", actor=maintenance.tick.actor_name, every="minute")
    second = time.gmtime().tm_sec
    if second > LATE_IN_MINUTE:
        time.sleep(60 - second)

    class LivingScheduler(Scheduler):  # type: ignore[misc]
        """Gives a sign of life with every tick, which is every minute."""

        def schedule(self) -> None:
            super().schedule()
            pulses.beat(data_dir, "scheduler")

    scheduler = LivingScheduler(actors=[maintenance.tick])
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
