"""`statewave embeddings status|migrate|rollback|prune`: the embedding model, and changing it while the server runs."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from cli.database import ago, duration, operator_pool, show

if TYPE_CHECKING:
    from pipelines.embedding_status import EmbeddingStatus
    from storage.transactions import Pool

#: Seconds between two lines of `--watch`.
WATCH_SECONDS = 2.0

COLUMNS: dict[str, Any] = {
    "model": lambda count: count.model or "(no vectors yet)",
    "subjects": lambda count: count.subjects,
    "passages": lambda count: count.passages,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("status", "migrate", "rollback", "prune"), nargs="?", default="status")
    parser.add_argument(
        "--model",
        help="what to migrate to: litellm:MODEL@DIMENSIONS, local:FOLDER@DIMENSIONS or the bundled model's name"
        " (default: what the settings describe)",
    )
    parser.add_argument("--watch", action="store_true", help="go on showing how far it is until it is done")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for, then show how things stand."""
    from config.errors import StatewaveError
    from config.settings import load_settings
    from pipelines import embedding_change
    from pipelines.embedders import configured_model

    configured = configured_model(load_settings())
    with operator_pool() as pool:
        try:
            if arguments.action == "migrate":
                target = arguments.model or configured
                if target is None:
                    print("STATEWAVE_EMBEDDING_PROVIDER is none: name a model with --model", file=sys.stderr)
                    return 1
                embedding_change.begin_change(pool, target=target)
            elif arguments.action == "rollback":
                embedding_change.roll_back(pool)
            elif arguments.action == "prune":
                print(f"{embedding_change.prune(pool)} blocks of vectors deleted")
        except StatewaveError as ex:
            print(ex.message, file=sys.stderr)
            return 1
        status = _watched(pool, configured, watch=arguments.watch)
    if arguments.json:
        print(msgspec.json.encode(status).decode())
    else:
        _print(status)
    return 0


def _watched(pool: Pool, configured: str | None, *, watch: bool) -> EmbeddingStatus:
    from pipelines import embedding_status

    while True:
        status = embedding_status.status(pool, configured_model=configured)
        current = status.current
        if not watch or current is None or current.change.state != "filling":
            return status
        print(_line(current), file=sys.stderr, flush=True)
        time.sleep(WATCH_SECONDS)


def _line(progress: Any) -> str:
    change = progress.change
    rate = f", {progress.passages_per_second:,.0f}/s" if progress.passages_per_second else ""
    left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    failed = f", {change.subjects_failed} subjects refused (statewave dead-letters)" if change.subjects_failed else ""
    return (
        f"{change.state}: {change.subjects_done:,} subjects, {change.passages_done:,} of {progress.passages_total:,}"
        f" passages{rate}{left}{failed}"
    )


def _print(status: EmbeddingStatus) -> None:
    print(f"configured here: {status.configured_model or 'none'}")
    show(status.subjects, COLUMNS, as_json=False, nothing="no subject holds passages yet")
    for change in status.history[:1]:
        print(f"\n{change.source_model} → {change.target_model}, begun {ago(change.started_at)} ago")
        if status.current is not None:
            print(f"  {_line(status.current)}")
        if status.current is not None and status.current.problem:
            print(f"  stopped: {status.current.problem}")
        for name, recall in (("before", change.recall_before), ("after", change.recall_after)):
            if recall:
                print(
                    f"  known-item recall@10 {name}: {recall['recall_at_10']:.3f}"
                    f" ({recall['queries']} queries made of stored passages of {recall['subjects']} subjects)"
                )
        if change.state == "switched":
            print("  `statewave embeddings rollback` undoes it; `statewave embeddings prune` frees the old vectors")
