"""What a drill did and found, for people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """Figures of one drill, in the order in which they were noted."""

    drill: str
    figures: dict[str, object] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def note(self, **figures: object) -> None:
        """Add figures."""
        self.figures |= figures

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Note how many seconds the block took."""
        began = time.monotonic()
        yield
        self.figures[name] = f"{time.monotonic() - began:.1f} s"

    def line(self) -> str:
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.figures.items())
        return f"{self.drill:<62} {figures}"
