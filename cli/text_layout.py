"""Plain text for a terminal: tables, and texts side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows under headers: the first column to the left, the others to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    text = [_aligned(line, widths) for line in lines]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([first, *rest]).rstrip()


def beside(left: Sequence[str], right: Sequence[str], *, width: int) -> list[str]:
    """Two columns of wrapped lines with a rule between them, `width` characters in all."""
    column = (width - 3) // 2
    pairs = zip_longest(wrap(left, column), wrap(right, column), fillvalue="")
    return [f"{a:<{column}} | {b}".rstrip() for a, b in pairs]


def wrap(lines: Iterable[str], width: int) -> list[str]:
    """Break lines longer than `width` between words; what continues a line is indented."""
    wrapped: list[str] = []
    for line in lines:
        wrapped += textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False) or [""]
    return wrapped
