"""What exporting and importing in the shell share: the server's services without a server, and a meter."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.database import operator_pool
from config.settings import load_settings

if TYPE_CHECKING:
    from pipelines.services import Services

#: Seconds between two lines of progress.
EVERY_SECONDS = 0.5


@contextmanager
def portable_services() -> Iterator[Services]:
    """Services over the database that the settings name, or that of a running `statewave up`."""
    from pipelines.embedders import open_embedder
    from pipelines.services import Services

    settings = load_settings()
    with operator_pool() as pool:
        yield Services(settings=settings, pool=pool, embedder=open_embedder(settings), ping_broker=lambda: None)


class Meter:
    """Shows how far it is on standard error: in place on a terminal, otherwise only what is done."""

    def __init__(self) -> None:
        self._in_place = sys.stderr.isatty()
        self._shown = 0.0

    def show(self, section: str, rows: int) -> None:
        """So many rows of a section are done."""
        now = time.monotonic()
        if self._in_place and now - self._shown > EVERY_SECONDS:
            self._shown = now
            sys.stderr.write(f"\r\x1b[K{section.replace('_', ' ')}: {rows:,}")
            sys.stderr.flush()

    def done(self, text: str) -> None:
        """A line that stays."""
        sys.stderr.write(("\r\x1b[K" if self._in_place else "") + text + "\n")
