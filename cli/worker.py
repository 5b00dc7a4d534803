"""`statewave worker`: dramatiq with our actors, without a supervisor."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cli.process import prepare
from config.metrics import forget_metrics, share_metrics
from config.queues import QUEUES
from storage import pulses

#: Milliseconds between looks at an idle queue, at most. Dramatiq's own 1000 is felt; 100 doubles Redis' idle load.
IDLE_POLL_MS = 250

#: Milliseconds after which a consumer tries Redis again that went away. Dramatiq's own is 3000.
RECONNECT_MS = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queues", type=_names, help="queues to serve, separated by commas (all of them when left out)"
    )
    parser.add_argument("--processes", type=int, help="processes (STATEWAVE_WORKER_PROCESSES)")
    parser.add_argument("--threads", type=int, help="threads of each process (STATEWAVE_WORKER_THREADS)")
    parser.add_argument(
        "--shutdown-seconds",
        type=float,
        default=30.0,
        help="time that running work is given to finish after SIGTERM (default: 30)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve the queues until told to stop."""
    settings = prepare("worker", worker_processes=arguments.processes, worker_threads=arguments.threads)
    pulses.forget_all(Path(settings.data_dir), "worker")
    # Read when dramatiq is imported, which is therefore not done before here.
    os.environ.setdefault("dramatiq_worker_timeout", str(IDLE_POLL_MS))
    os.environ.setdefault("dramatiq_restart_delay", str(RECONNECT_MS))

    if settings.worker_metrics_port is not None:
        share_metrics()

    from dramatiq.cli import main, make_argument_parser

    argv = [
        "actors.main:broker",
        "--skip-logging",
        *("--processes", str(settings.worker_processes)),
        *("--threads", str(settings.worker_threads)),
        *("--worker-shutdown-timeout", str(int(arguments.shutdown_seconds * 1000))),
    ]
    if arguments.queues:
        argv += ["--queues", *arguments.queues]
    try:
        return int(main(make_argument_parser().parse_args(argv)))
    finally:
        forget_metrics()


def _names(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"there is no queue {', '.join(unknown)!r}; there are {', '.join(QUEUES)}")
    return names
