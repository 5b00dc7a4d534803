"""What the demo prints: one panel for each task, and a table at the end."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from cli.api_client import Answer, Json
from cli.text_layout import beside, table, wrap

#: Terminals narrower than this show the two contexts one below the other.
SIDE_BY_SIDE_FROM = 100
WIDEST = 160


#: Kinds of memories, with the most shown of each. Of summaries the number says enough.
SHOWN_OF_KIND = {"profile_fact": 8, "procedure": 4, "episode_summary": 0}


@dataclass(frozen=True, slots=True)
class Asked:
    """One task, answered before and after compilation."""

    task: str
    before: Answer
    after: Answer


def memories(compiled: Sequence[Json]) -> str:
    """How many memories of each kind there are, and the first of those worth reading."""
    kinds = [*SHOWN_OF_KIND, *sorted({memory["kind"] for memory in compiled} - SHOWN_OF_KIND.keys())]
    lines = []
    for kind in kinds:
        contents = [memory["content"] for memory in compiled if memory["kind"] == kind]
        lines.append(f"  {len(contents)} {kind}")
        lines += [f"    - {_shortened(content, 90)}" for content in contents[: SHOWN_OF_KIND.get(kind, 0)]]
    return "\n".join(lines)


def panel(number: int, asked: Asked, *, width: int, lines: int | None) -> str:
    """The task with both contexts; of each the first `lines`, or all of it."""
    width = min(width, WIDEST)
    before = [f"BEFORE  {_cost(asked.before)}", _counts(asked.before)]
    after = [f"AFTER  {_cost(asked.after)}", _counts(asked.after)]
    old, new = _delivered(asked.before, asked.task), _delivered(asked.after, asked.task)
    if old == new:
        body = [*beside(before, after, width=width), "", "The same text:", *wrap(_first(new, lines), width)]
    elif width >= SIDE_BY_SIDE_FROM:
        body = beside([*before, "", *_first(old, lines)], [*after, "", *_first(new, lines)], width=width)
    else:
        body = wrap([*before, "", *_first(old, lines), "", *after, "", *_first(new, lines)], width)
    return "\n".join(["=" * width, *wrap([f"{number}. {asked.task}"], width), "-" * width, *body])


def _delivered(answer: Answer, task: str) -> list[str]:
    """The lines of a context after the task that it repeats."""
    text: str = answer.body["assembled_context"].partition(task)[2]
    return text.strip("\n").splitlines() or ["(nothing)"]


def _first(text: list[str], lines: int | None) -> list[str]:
    rest = 0 if lines is None else max(0, len(text) - lines)
    return [*text[: len(text) - rest], f"... {rest} more lines"] if rest else text


def _cost(answer: Answer) -> str:
    return f"{answer.body['token_estimate']} tokens, {answer.milliseconds:.1f} ms"


def _counts(answer: Answer) -> str:
    kinds = ("facts", "procedures", "episodes")
    return ", ".join(f"{len(answer.body[kind])} {kind}" for kind in kinds)


def summary(results: Sequence[Asked]) -> str:
    """The table at the end: tokens, milliseconds and what each context holds."""
    figures = ["tokens", "ms", "facts", "proc.", "epis."]
    headers = ["task", *figures, "|", *figures]
    rows = [[_shortened(asked.task, 36), *_figures(asked.before), "|", *_figures(asked.after)] for asked in results]
    return table(headers, rows)


def _figures(answer: Answer) -> list[str]:
    body = answer.body
    return [
        str(body["token_estimate"]),
        f"{answer.milliseconds:.1f}",
        *(str(len(body[kind])) for kind in ("facts", "procedures", "episodes")),
    ]


def _shortened(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" ...")
