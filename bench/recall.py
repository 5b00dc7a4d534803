"""How much of the evidence a context contains, measured through the public API of a running server.

    python bench/recall.py http://localhost:8100 bench/conversations
    python bench/recall.py http://localhost:8100 DIR --shape both --json after.json --wrong-subject
    python bench/recall.py --compare before.json after.json

Each conversation of DIR becomes a subject of its own (an earlier run's subject of that name is deleted
first), each question becomes a `task`, and a gold turn is found when all of its text is in the answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import recall_report, recall_results
from bench.conversation import load_directory
from bench.ingestion import SHAPES
from bench.recall_run import BUDGETS, Options, run
from cli.api_client import ApiClient, RequestFailed, ServerUnreachable


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 when a budget was exceeded, 2 when it could not run."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.compare:
        before, after = (recall_results.load(file) for file in options.compare)
        print(recall_report.render_comparison(before, after))
        return 0
    if not options.url or not options.dataset:
        parser.error("URL and DATASET are required, or --compare A.json B.json")
    try:
        return _measure(options)
    except (ServerUnreachable, RequestFailed, FileNotFoundError, ValueError) as ex:
        print(ex, file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    conversations = load_directory(options.dataset)
    asked = Options(
        dataset=str(options.dataset),
        budgets=tuple(sorted(options.budgets)),
        reuse=options.reuse,
        emptiness=options.wrong_subject,
    )
    shapes = list(SHAPES) if options.shape == "both" else [options.shape]
    with ApiClient(options.url, api_key=options.api_key) as client:
        client.version()
        runs = [run(client, conversations, shape, asked) for shape in shapes]
    report = recall_results.Report(runs=runs)
    print("\n\n".join(recall_report.render(each) for each in runs))
    if options.json:
        recall_results.save(report, options.json)
    return check_budgets(report)


def check_budgets(report: recall_results.Report) -> int:
    """Name every answer whose estimate exceeds its budget on standard error; 1 when there is one."""
    broken = [(run.shape, result, delivery) for run in report.runs for result, delivery in run.over_budget()]
    for shape, result, delivery in broken:
        print(
            f"OVER BUDGET ({shape}): {delivery.tokens} tokens of {delivery.budget} for {result.question!r}",
            file=sys.stderr,
        )
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recall", description="Evidence recall of /v1/context.")
    parser.add_argument("url", nargs="?", metavar="URL", help="a running server, such as http://localhost:8100")
    parser.add_argument("dataset", nargs="?", type=Path, metavar="DATASET", help="a folder of conversations")
    parser.add_argument("--shape", choices=[*SHAPES, "both"], default="turn", help="one episode per turn or session")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), metavar="TOKENS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the result of every question")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A.json", "B.json"), help="print wins and losses")
    parser.add_argument("--wrong-subject", action="store_true", help="measure honest emptiness as well")
    parser.add_argument("--reuse", action="store_true", help="ask what an earlier run ingested, without ingesting")
    parser.add_argument("--api-key", default=os.environ.get("STATEWAVE_API_KEY"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
