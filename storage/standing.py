"""What a request rests on while it works: who let it in, what must be written along with whatever it changes, and the
region whose tenants it is about.

All of it belongs to the thread that is at the request, and `storage.transactions` heeds it in every transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from storage.transactions import Connection


class Standing(Protocol):
    """What a request was let in by: facts that a process remembers, and the access revision at which they held.

    Every transaction of the request asks for the revision in the round trip that begins it. When it has moved, the
    facts are read again, and what no longer holds ends the request before it has seen a row. So facts may be
    remembered for as long as one likes, and none outlives its withdrawal.
    """

    revision: int
    #: Whether some transaction has found the revision unchanged.
    is_confirmed: bool

    def renew(self) -> None:
        """Read the facts again; raises when they let nobody in any more."""


#: The standing of the request that this thread is at; None for everything that relies on nothing remembered.
standing: ContextVar[Standing | None] = ContextVar("standing", default=None)

#: Called with the connection before a transaction commits, for what must be written along with it.
before_commit: ContextVar[Callable[[Connection], None] | None] = ContextVar("before_commit", default=None)

#: The region that operators' transactions keep to: rows of tenants that are pinned to another one are not there for
#: them. None where the server has no region, and for everything that is not an operator's request.
kept_region: ContextVar[str | None] = ContextVar("kept_region", default=None)

_T = TypeVar("_T")


@contextmanager
def keeping_to(region: str | None) -> Iterator[None]:
    """Let operators' transactions within keep to a region."""
    token = kept_region.set(region)
    try:
        yield
    finally:
        kept_region.reset(token)


def kept_to(region: str | None, pieces: Iterator[_T]) -> Iterator[_T]:
    """The same pieces, each of them read as `keeping_to` has it: answers that stream are read after their request."""
    while True:
        with keeping_to(region):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece
