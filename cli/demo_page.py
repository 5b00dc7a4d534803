"""What the demo prints: one panel for each task, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.api_client import Answer
from cli.text_layout import beside, table, wrap

#: Terminals narrower than this show the two contexts one below the other.
SIDE_BY_SIDE_FROM = 100
WIDEST = 160


@dataclass(frozen=True, slots=True)
class Asked:
    """One task, answered before and after compilation."""

    task: str
    before: Answer
    after: Answer


def panel(number: int, asked: Asked, *, width: int, lines: int | None) -> str:
    """The task with both contexts; of each the first `lines`, or all of it."""
    width = min(width, WIDEST)
    before = _column("BEFORE", asked.before, asked.task, lines)
    after = _column("AFTER", asked.after, asked.task, lines)
    if width >= SIDE_BY_SIDE_FROM:
        body = beside(before, after, width=width)
    else:
        body = [*wrap(before, width), "", *wrap(after, width)]
    title = wrap([f"{number}. {asked.task}"], width)
    return "\n".join(["=" * width, *title, "-" * width, *body])


def _column(label: str, answer: Answer, task: str, lines: int | None) -> list[str]:
    text = answer.body["assembled_context"].partition(task)[2].strip("\n").splitlines()
    shown = text if lines is None else text[:lines]
    rest = len(text) - len(shown)
    more = [f"... {rest} more lines"] if rest else []
    return [f"{label}  {_cost(answer)}", _counts(answer), "", *(shown or ["(nothing)"]), *more]


def _cost(answer: Answer) -> str:
    return f"{answer.body['token_estimate']} tokens, {answer.milliseconds:.1f} ms"


def _counts(answer: Answer) -> str:
    kinds = ("facts", "procedures", "episodes")
    return ", ".join(f"{len(answer.body[kind])} {kind}" for kind in kinds)


def summary(results: Sequence[Asked]) -> str:
    """The table at the end: tokens, milliseconds and what each context holds."""
    headers = [
        "task",
        "tokens",
        "ms",
        "facts",
        "proc.",
        "epis.",
        "|",
        "tokens",
        "ms",
        "facts",
        "proc.",
        "epis.",
    ]
    rows = [[_shortened(asked.task), *_figures(asked.before), "|", *_figures(asked.after)] for asked in results]
    return table(headers, rows)


def _figures(answer: Answer) -> list[str]:
    body = answer.body
    return [
        str(body["token_estimate"]),
        f"{answer.milliseconds:.1f}",
        *(str(len(body[kind])) for kind in ("facts", "procedures", "episodes")),
    ]


def _shortened(task: str, width: int = 36) -> str:
    return task if len(task) <= width else task[: width - 3].rstrip() + "..."
