"""Arguments that say which runs are meant, and the table of runs."""

from __future__ import annotations

import argparse
from typing import Any
from uuid import UUID

from cli.database import ago
from config.queues import QUEUES
from storage.run_operations import RunFilter

STATES = ("pending", "running", "completed", "failed", "cancelled")


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Arguments of a filter, the state apart."""
    parser.add_argument("--queue", choices=QUEUES)
    parser.add_argument("--kind")
    parser.add_argument("--tenant", dest="tenant_id", help="tenant id; '' is the default tenant")
    parser.add_argument("--subject", dest="subject_id")
    parser.add_argument("--quarantined", action="store_true", default=None, help="only those that killed their workers")


def filter_of(arguments: argparse.Namespace, **fields: Any) -> RunFilter:
    """The filter that the arguments make."""
    return RunFilter(
        queue=arguments.queue,
        kind=arguments.kind,
        tenant_id=arguments.tenant_id,
        subject_id=arguments.subject_id,
        quarantined=arguments.quarantined,
        **fields,
    )


def names_some(which: RunFilter) -> bool:
    """Whether a filter means less than all runs of its states."""
    return which != RunFilter(states=which.states)


def run_id(value: str) -> UUID:
    """A run's id, for argparse."""
    try:
        return UUID(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not the id of a run") from None


#: Heading, and the text of a run.
COLUMNS: dict[str, Any] = {
    "id": lambda run: run.id,
    "kind": lambda run: run.kind,
    "stage": lambda run: run.stage,
    "state": lambda run: "quarantined" if run.quarantined else run.state,
    "tenant": lambda run: run.tenant_id or "-",
    "subject": lambda run: run.subject_id or "-",
    "attempts": lambda run: run.attempts,
    "crashes": lambda run: run.crashes,
    "age": lambda run: ago(run.created_at),
    "error": lambda run: (run.error or "").splitlines()[0][:60] if run.error else "",
}
