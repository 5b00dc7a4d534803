"""`statewave api`: gunicorn with the API, without a supervisor."""

from __future__ import annotations

import argparse
import os
import sys

from cli.process import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to bind to (STATEWAVE_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (STATEWAVE_PORT)")
    parser.add_argument("--workers", type=int, help="processes (STATEWAVE_API_WORKERS)")
    parser.add_argument("--threads", type=int, help="request threads of each process (STATEWAVE_API_THREADS)")


def run(arguments: argparse.Namespace) -> int:
    """Become gunicorn."""
    prepare(
        "api",
        host=arguments.host,
        port=arguments.port,
        api_workers=arguments.workers,
        api_threads=arguments.threads,
    )
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", "api.wsgi:app"])
