"""What a request rests on while it works: who let it in, and what must be written along with whatever it changes.

Both belong to the thread that is at the request, and `storage.transactions` heeds them in every transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

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
