"""Which rows of a listing a reader may see, as a part of the statement that lists them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec


class IdFilter(msgspec.Struct, frozen=True):
    """All rows but those named, or only those."""

    ids: frozenset[UUID] = frozenset()
    only: bool = False

    def admits(self, id: UUID) -> bool:
        """Whether the row may be seen."""
        return (id in self.ids) == self.only

    def count(self, total: int) -> int:
        """How many of so many rows may be seen."""
        return min(total, len(self.ids)) if self.only else max(0, total - len(self.ids))

    def parameters(self, name: str) -> dict[str, Any]:
        """What `condition` refers to."""
        return {f"{name}_ids": list(self.ids), f"{name}_only": self.only}

    def condition(self, column: str, name: str) -> str:
        """A condition on a column of ids, to stand behind an `and`; empty where every row may be seen.

        Args:
            name: Prefix of its parameters.
        """
        if not self.only and not self.ids:
            return ""
        return f"and ({column} = any(%({name}_ids)s)) = %({name}_only)s"


ALL = IdFilter()
NOTHING = IdFilter(only=True)
