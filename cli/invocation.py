"""The command line that this process was asked with, for those who must say who did what."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from contextvars import ContextVar

#: Everything after `statewave`.
command_line: ContextVar[Sequence[str]] = ContextVar("command_line", default=())


def shell_user() -> str:
    """Who sits at the shell, as it stands in the audit log. No key's name contains a colon."""
    try:
        return f"shell:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without an entry in the system's list
        return "shell"
